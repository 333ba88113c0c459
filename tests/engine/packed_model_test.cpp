#include "engine/packed_model.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/embedding_table.h"
#include "engine/engine.h"
#include "engine/error.h"
#include "engine/kernels/crc32c.h"
#include "engine/packed_checksums.h"
#include "tests/engine/model_files.h"
#include "tests/support/catch.h"

namespace fs = std::filesystem;
using namespace reelfolio::engine;  // NOLINT: a test of the whole engine
using reelfolio::test::TempFolder;

namespace {

const fs::path kSource = fs::path(REELFOLIO_SOURCE_DIR) / "samples/model";

std::string contents(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void pack(const fs::path& target, ops::WeightType weights, bool int8_table = false) {
  pack_model(kSource, target, {weights, int8_table}, {}, {});
}

/// Of a mapping, what this process has in memory: the page cache does not count.
std::size_t resident_bytes(std::span<const std::byte> mapped) {
  const auto first = reinterpret_cast<std::uintptr_t>(mapped.data());
  std::ifstream maps("/proc/self/smaps");
  bool inside = false;
  std::size_t kilobytes = 0;
  for (std::string line; std::getline(maps, line);) {
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
    if (std::sscanf(line.c_str(), "%zx-%zx ", &begin, &end) == 2) {
      inside = begin < first + mapped.size() && end > first;
    } else if (inside && line.starts_with("Rss:")) {
      kilobytes += std::stoul(line.substr(4));
    }
  }
  return kilobytes * 1024;
}

std::string answer(const fs::path& model, ops::WeightType weights) {
  const auto engine = Engine::load(model, {.weights = weights, .threads = 1});
  auto image = std::make_shared<RgbImage>(RgbImage{96, 64, std::vector<std::uint8_t>(96 * 64 * 3, 200)});
  for (std::size_t i = 0; i < image->pixels.size() / 2; i += 3) image->pixels[i] = 20;
  Request request;
  request.messages = {{Role::user, {ImagePart{image, 70}, TextPart{"Describe the image."}}}};
  request.max_tokens = 24;
  return engine->answer({&request, 1}).front().text;
}

}  // namespace

TEST_CASE("packed model: answers exactly as the same weights converted while loading") {
  const TempFolder folder;
  for (const auto weights :
       {ops::WeightType::bf16, ops::WeightType::int8, ops::WeightType::int4, ops::WeightType::int2}) {
    const fs::path target = folder.path() / std::string(ops::weight_type_name(weights));
    pack(target, weights);
    CHECK(packed_weights(Checkpoint::open(target)) == weights);
    // A packed directory has its own type, whatever is asked for.
    CHECK(answer(target, ops::WeightType::f32) == answer(kSource, weights));
  }
}

TEST_CASE("packed model: the same source gives the same bytes, in any folder") {
  const TempFolder folder;
  std::size_t last_done = 0;
  std::size_t last_total = 0;
  pack_model(kSource, folder.path() / "a", {ops::WeightType::int4},
             [&](std::size_t done, std::size_t total) {
               CHECK(done >= last_done);
               last_done = done;
               last_total = total;
             },
             {});
  CHECK(last_done > last_total / 2);
  fs::create_directory(folder.path() / "b");  // an empty folder may stand there
  pack(folder.path() / "b", ops::WeightType::int4);
  CHECK(contents(folder.path() / "a/packed.safetensors") == contents(folder.path() / "b/packed.safetensors"));
  CHECK(contents(folder.path() / "a/tokenizer.json") == contents(kSource / "tokenizer.json"));
}

TEST_CASE("packed model: a stopped pack leaves nothing, an existing folder stays") {
  const TempFolder folder;
  std::stop_source stop;
  CHECK_THROWS_AS(pack_model(
                      kSource, folder.path() / "a", {ops::WeightType::int8},
                      [&](std::size_t, std::size_t) { stop.request_stop(); }, stop.get_token()),
                  PackCancelled);
  CHECK(fs::is_empty(folder.path()));
  std::ofstream(folder.path() / "mine") << "text";
  CHECK_THROWS_WITH(pack(folder.path(), ops::WeightType::int8),
                    folder.path().string() + ": exists and is not an empty folder");
  CHECK(contents(folder.path() / "mine") == "text");
  CHECK_THROWS_AS(pack(folder.path() / "mine/below", ops::WeightType::int8), PackWriteError);
}

TEST_CASE("packed model: damage of any kind is refused with the reason") {
  const TempFolder folder;
  const fs::path target = folder.path() / "packed";
  pack(target, ops::WeightType::int4);
  const fs::path file = target / "packed.safetensors";
  const std::string whole = contents(file);
  const auto refusal = [&](const std::string& changed) -> std::string {
    std::ofstream(file, std::ios::binary | std::ios::trunc) << changed;
    try {
      Engine::load(target, {.weights = ops::WeightType::bf16, .threads = 1});
    } catch (const ModelError& error) {
      return error.what();
    }
    return "accepted";
  };
  REQUIRE(refusal(whole) == "accepted");
  std::string flipped = whole;
  flipped[whole.size() / 4] = static_cast<char>(flipped[whole.size() / 4] ^ 1);
  CHECK(refusal(flipped).find("does not match its checksum") != std::string::npos);
  CHECK(refusal(whole.substr(0, whole.size() / 2)).find("packed.safetensors: tensor '") == 0);
  CHECK(refusal("").find("packed.safetensors") == 0);
  std::string version = whole;
  const std::size_t place = version.find("\"reelfolio.packed\":\"4\"");
  REQUIRE(place != std::string::npos);
  version[place + 20] = '9';
  CHECK(refusal(version) ==
        "packed.safetensors: is packed in version '9', expected '4'; pack the model again");
  std::string other = whole;
  const std::size_t weights = other.find("\"int4\"");
  REQUIRE(weights != std::string::npos);
  other[weights + 4] = '2';
  CHECK(refusal(other).find("packed.safetensors: header does not match its checksum") == 0);
}

TEST_CASE("packed model: what version 3 laid out otherwise is refused, the rest of it is read") {
  const TempFolder folder;
  for (const auto weights :
       {ops::WeightType::bf16, ops::WeightType::int8, ops::WeightType::int4, ops::WeightType::int2}) {
    const std::string name(ops::weight_type_name(weights));
    INFO(name);
    const fs::path target = folder.path() / name;
    pack(target, weights);
    const std::string expected = answer(target, weights);
    // The file as version 3 wrote it: another number, under the header's checksum.
    std::string whole = contents(target / "packed.safetensors");
    const std::size_t place = whole.find("\"reelfolio.packed\":\"4\"");
    REQUIRE(place != std::string::npos);
    whole[place + 20] = '3';
    {
      const Checkpoint packed = Checkpoint::open(target);
      const std::size_t header_size = packed.files().front().header.size();
      const TensorView& sums = *packed.find(kChecksumsName);
      const std::uint32_t sum = checksum_of(std::as_bytes(std::span(whole).subspan(8, header_size)));
      const auto at = static_cast<std::size_t>(sums.bytes.data() - packed.files().front().data.data());
      std::memcpy(whole.data() + 8 + header_size + at, &sum, sizeof sum);
    }
    std::ofstream(target / "packed.safetensors", std::ios::binary | std::ios::trunc) << whole;
    if (weights == ops::WeightType::int2) {
      CHECK_THROWS_WITH(answer(target, weights),
                        "packed.safetensors: is packed in version '3', expected '4'; pack the model again");
    } else {
      CHECK(answer(target, weights) == expected);
    }
  }
}

TEST_CASE("packed model: int2 leaves nothing of what has been verified in memory") {
  const TempFolder folder;
  for (const auto weights : {ops::WeightType::int8, ops::WeightType::int2}) {
    INFO(ops::weight_type_name(weights));
    const fs::path target = folder.path() / std::string(ops::weight_type_name(weights));
    pack(target, weights);
    const Checkpoint packed = Checkpoint::open(target);
    const std::span<const std::byte> data = packed.files().front().data;
    verify_packed_model(packed, PackedPart::decoder_and_vision);
    const std::size_t resident = resident_bytes(data);
    if (weights == ops::WeightType::int2) {
      CHECK(resident < data.size() / 8);
    } else {
      CHECK(resident > data.size() / 8);
    }
  }
}

TEST_CASE("packed model: every byte of the file is covered, and damage shows where it is read") {
  const TempFolder folder;
  const fs::path target = folder.path() / "packed";
  pack(target, ops::WeightType::int4, true);
  const std::string whole = contents(target / "packed.safetensors");
  const auto flip = [&](std::size_t place) {
    std::string changed = whole;
    changed[place] = static_cast<char>(changed[place] ^ 0x20);
    std::ofstream(target / "packed.safetensors", std::ios::binary | std::ios::trunc) << changed;
  };
  const auto complaint = [](const std::string& tensor) {
    return "packed.safetensors: tensor '" + tensor +
           "' does not match its checksum: the file is damaged or "
           "was copied in part";
  };
  const Checkpoint intact = Checkpoint::open(target);
  CHECK(packed_model_damage(intact).empty());
  const auto place_of = [&](const TensorView& tensor) {
    return static_cast<std::size_t>(tensor.bytes.data() - intact.files().front().data.data()) + 8 +
           intact.files().front().header.size();
  };
  // The tensors, their order and names.
  std::vector<std::pair<std::string, std::size_t>> places;
  for (const TensorView& tensor : intact.tensors()) {
    if (!tensor.bytes.empty()) places.emplace_back(tensor.name, place_of(tensor) + tensor.bytes.size() - 1);
  }
  REQUIRE(places.size() > 20);
  for (std::size_t i = 0; i < places.size(); i += 7) {
    if (places[i].first == kChecksumsName) continue;
    flip(places[i].second);
    const auto damage = packed_model_damage(Checkpoint::open(target));
    CHECK(std::find(damage.begin(), damage.end(), complaint(places[i].first)) != damage.end());
    // Tensors that share the block are named too; those elsewhere are not.
    CHECK(damage.size() < places.size());
  }

  // A look-up table is not read as a whole, so its damage costs nothing until the row is wanted.
  const std::string table = int8_table_name("model.language_model.embed_tokens_per_layer.weight");
  REQUIRE(intact.find(table) != nullptr);
  flip(place_of(*intact.find(table)) + intact.find(table)->bytes.size() / 2);
  const Checkpoint damaged = Checkpoint::open(target);
  verify_packed_model(damaged, PackedPart::decoder_and_vision);
  CHECK_THROWS_WITH(verify_packed_model(damaged, PackedPart::embedding_tables), complaint(table));
  const ModelConfig config = load_model_config(target);
  const std::size_t group = config.text.hidden_size_per_layer_input;
  EmbeddingTable rows(damaged, "model.language_model.embed_tokens_per_layer.weight",
                      config.text.vocab_size_per_layer_input, config.text.num_hidden_layers * group, group);
  const std::size_t middle = config.text.vocab_size_per_layer_input / 2;
  CHECK_NOTHROW(rows.prepare(std::vector<std::size_t>{0}));
  CHECK_THROWS_WITH(rows.prepare(std::vector<std::size_t>{0, middle}), complaint(table));
}

TEST_CASE("packed model: int8 per-layer embeddings stay within half a step of what they were") {
  const TempFolder folder;
  const fs::path target = folder.path() / "packed";
  pack(target, ops::WeightType::int8, true);
  const std::string name = "model.language_model.embed_tokens_per_layer.weight";
  const Checkpoint source = Checkpoint::open(kSource);
  const Checkpoint packed = Checkpoint::open(target);
  CHECK(packed.find(name) == nullptr);
  const ModelConfig config = load_model_config(kSource);
  const std::size_t group = config.text.hidden_size_per_layer_input;
  const std::size_t cols = config.text.num_hidden_layers * group;
  const std::size_t rows = config.text.vocab_size_per_layer_input;
  EmbeddingTable exact(source, name, rows, cols, group);
  EmbeddingTable rounded(packed, name, rows, cols, group);
  std::vector<float> a(cols), b(cols), part(group + 1);
  for (std::size_t row = 0; row < rows; row += 3) {
    exact.prepare({&row, 1});
    rounded.prepare({&row, 1});
    exact.read(row, 0, a);
    rounded.read(row, 0, b);
    for (std::size_t first = 0; first < cols; first += group) {
      float largest = 0;
      float worst = 0;
      for (std::size_t i = first; i < first + group; ++i) {
        largest = std::max(largest, std::abs(a[i]));
        worst = std::max(worst, std::abs(a[i] - b[i]));
      }
      // Half a step, and the roundings of scale and product.
      CHECK(worst <= largest / 127 * 0.5001F);
    }
    rounded.read(row, group / 2, part);  // over the border of a group
    CHECK(std::equal(part.begin(), part.end(), b.begin() + static_cast<std::ptrdiff_t>(group / 2)));
  }
}

TEST_CASE("packed model: CRC-32C is the one of RFC 3720, whichever code computes it") {
  const auto sum_of = [](kernels::Crc32cFunction function, std::string_view text) {
    std::uint32_t sum = 0;
    function(reinterpret_cast<const std::byte*>(text.data()), text.size(), 1, &sum);
    return sum;
  };
  CHECK(sum_of(kernels::crc32c_ref, "123456789") == 0xE3069283U);
  CHECK(sum_of(kernels::crc32c_ref, std::string(32, '\0')) == 0x8A9136AAU);
  CHECK(sum_of(kernels::crc32c_ref, "") == 0);
  std::string text;
  for (int i = 0; i < 700; ++i) text += static_cast<char>(i * i / 3);
  for (const std::size_t size : {1, 7, 8, 9, 63, 100}) {
    std::vector<std::uint32_t> expected(7), actual(7);
    const auto* data = reinterpret_cast<const std::byte*>(text.data());
    kernels::crc32c_ref(data, size, 7, expected.data());
    kernels::crc32c_function()(data, size, 7, actual.data());
    CHECK(actual == expected);
    // Written in pieces, whole blocks among them.
    CHECK(expected[0] == checksum_of({data, size}));
  }
  std::vector<std::byte> long_data(3 * kChecksumBlock + 17);
  for (std::size_t i = 0; i < long_data.size(); ++i) long_data[i] = static_cast<std::byte>(i * 31 >> 3);
  ChecksumWriter pieces, whole;
  whole.add(long_data);
  for (std::size_t done = 0, step = 1; done < long_data.size(); step = step * 5 + 1) {
    const std::size_t count = std::min(step, long_data.size() - done);
    pieces.add(std::span(long_data).subspan(done, count));
    done += count;
  }
  const auto sums = whole.finish();
  CHECK(sums.size() == 4);
  CHECK(sums[1] == checksum_of(std::span(long_data).subspan(kChecksumBlock, kChecksumBlock)));
  CHECK(pieces.finish() == sums);
}

TEST_CASE("packed model: the audio tower is packed, and read when there is sound to hear") {
  const fs::path source = reelfolio::test::golden_path("text/e4b/model");
  const TempFolder folder;
  const fs::path target = folder.path() / "packed";
  pack_model(source, target, {ops::WeightType::int8}, {}, {});
  const Checkpoint packed = Checkpoint::open(target);
  const auto key = "model.audio_tower.layers.0.feed_forward1.ffw_layer_1.linear.weight";
  REQUIRE(packed.find(key) != nullptr);
  CHECK(packed.find(key)->dtype == DType::u8);

  auto clip = std::make_shared<AudioClip>();
  for (int i = 0; i < 9000; ++i)
    clip->samples.push_back(0.3F * static_cast<float>(i * i / 50 % 7 - 3) / 3.0F);
  Request hears;
  hears.messages = {{Role::user, {AudioPart{clip}, TextPart{"What is said?"}}}};
  hears.max_tokens = 12;
  Request reads = hears;
  reads.messages.front().parts.erase(reads.messages.front().parts.begin());
  const EngineOptions options{.weights = ops::WeightType::int8, .threads = 1};
  const auto text = [](Engine& engine, const Request& request) {
    return engine.answer({&request, 1}).front().text;
  };
  const auto plain = Engine::load(source, options);
  CHECK(text(*Engine::load(target, options), hears) == text(*plain, hears));

  // Damage there shows when it is read, not before. A matrix is wanted whose block of the checksums
  // holds nothing of the other parts.
  const std::string whole = contents(target / "packed.safetensors");
  const auto damage_audio = [&] {
    for (const TensorView& tensor : packed.tensors()) {
      if (!tensor.name.starts_with("model.audio_tower.") || tensor.dtype != DType::u8) continue;
      std::string changed = whole;
      const auto first = static_cast<std::size_t>(tensor.bytes.data() - packed.files().front().data.data());
      const std::size_t place = first + tensor.bytes.size() / 2 + packed.files().front().header.size() + 8;
      changed[place] = static_cast<char>(changed[place] ^ 0x55);
      std::ofstream(target / "packed.safetensors", std::ios::binary | std::ios::trunc) << changed;
      try {
        verify_packed_model(Checkpoint::open(target), PackedPart::decoder_and_vision);
        return true;
      } catch (const ModelError&) {
      }
    }
    return false;
  };
  REQUIRE(damage_audio());
  const auto damaged = Engine::load(target, options);
  CHECK(text(*damaged, reads) == text(*plain, reads));
  std::string complaint;
  try {
    text(*damaged, hears);
  } catch (const ModelError& error) {
    complaint = error.what();
  }
  CHECK(complaint.find("packed.safetensors: tensor 'model.audio_tower.") == 0);
  CHECK(complaint.find("' does not match its checksum") != std::string::npos);
}
