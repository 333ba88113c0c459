#include "engine/vision/vision_tower.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "engine/config.h"
#include "engine/error.h"
#include "engine/kernels/force_kernels.h"
#include "engine/kernels/row_kernels.h"
#include "engine/ops/matmul.h"
#include "engine/safetensors.h"
#include "engine/vision/preprocess.h"
#include "engine/vision/resize.h"
#include "nlohmann/json.hpp"
#include "tests/engine/golden_media.h"
#include "tests/engine/vision_checkpoint.h"
#include "tests/support/catch.h"
#include "tests/support/golden_kit.h"
#include "tests/support/temp_folder.h"

namespace {

using namespace reelfolio::engine;
using nlohmann::json;
using reelfolio::test::golden_json;
using reelfolio::test::NamedTensors;
using reelfolio::test::read_png;
using reelfolio::test::TempFolder;
using reelfolio::test::VisionShape;
using reelfolio::test::worst_difference;
namespace fs = std::filesystem;

/// The suggested limit of the reference kit for f32; the largest values are near 70.
constexpr double kLimit = 5e-4;

std::vector<fs::path> kits() {
  return reelfolio::test::golden_kits("vision");
}

/// A safetensors file of golden values, read whole.
class GoldenFile {
 public:
  explicit GoldenFile(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    REQUIRE(file);
    bytes_.assign(std::istreambuf_iterator<char>(file), {});
    std::uint64_t length = 0;
    REQUIRE(bytes_.size() > 8);
    std::memcpy(&length, bytes_.data(), 8);
    header_ = json::parse(bytes_.begin() + 8, bytes_.begin() + 8 + static_cast<std::ptrdiff_t>(length));
    start_ = 8 + length;
  }

  std::vector<std::size_t> shape(const std::string& name) const { return header_.at(name).at("shape"); }

  template <class T>
  std::vector<T> values(const std::string& name) const {
    const auto offsets = header_.at(name).at("data_offsets").get<std::vector<std::size_t>>();
    std::vector<T> result((offsets[1] - offsets[0]) / sizeof(T));
    std::memcpy(result.data(), bytes_.data() + start_ + offsets[0], offsets[1] - offsets[0]);
    return result;
  }

 private:
  std::string bytes_;
  std::size_t start_ = 0;
  json header_;
};

std::vector<float> dense(ConstMatrix matrix) {
  std::vector<float> values;
  for (std::size_t r = 0; r < matrix.rows; ++r) {
    values.insert(values.end(), matrix.row(r).begin(), matrix.row(r).end());
  }
  return values;
}

double cosine(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double ab = 0, aa = 0, bb = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    ab += double(a[i]) * b[i];
    aa += double(a[i]) * a[i];
    bb += double(b[i]) * b[i];
  }
  return ab / std::sqrt(aa * bb);
}

struct Steps {
  std::map<std::string, std::vector<float>> values;  ///< by the observer's name, and "projected"
};

Steps run(const vision::VisionTower& tower, const vision::PreprocessedImage& image) {
  Steps steps;
  const MatrixBuffer projected = tower.encode(image, [&steps](std::string_view name, ConstMatrix matrix) {
    steps.values[std::string(name)] = dense(matrix);
  });
  steps.values["projected"] = dense(projected.view());
  return steps;
}

/// A fixed picture with gradients, edges and some noise.
RgbImage test_picture(int width, int height) {
  RgbImage image;
  image.width = width;
  image.height = height;
  image.pixels.resize(static_cast<std::size_t>(width) * height * 3);
  std::uint32_t state = 1;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < 3; ++c) {
        state = state * 1664525U + 1013904223U;
        const int value = (x * (c + 1) + y * 3) / 4 + ((x / 20 + y / 30) % 2) * 60 + int(state >> 28);
        image.row(y)[x * 3 + c] = static_cast<std::uint8_t>(value % 256);
      }
    }
  }
  return image;
}

struct Synthetic {
  ModelConfig config;
  const TempFolder dir;
  vision::VisionTower tower;

  Synthetic(const ModelConfig& model, const NamedTensors& tensors, ops::WeightType type,
            bool bf16_file = false)
      : config(model), tower(make(tensors, type, bf16_file)) {}

 private:
  vision::VisionTower make(const NamedTensors& tensors, ops::WeightType type, bool bf16_file) {
    reelfolio::test::write_checkpoint(dir.path(), tensors, bf16_file);
    return vision::VisionTower(config, Checkpoint::open(dir.path()), type);
  }
};

}  // namespace

TEST_CASE("vision golden: target sizes and token counts") {
  for (const fs::path& kit : kits()) {
    const fs::path path = kit / "golden" / "image_sizes.json";
    if (!fs::exists(path)) continue;  // the smaller kit has none
    const json cases = golden_json(path);
    REQUIRE(cases.size() > 50);
    for (const json& c : cases) {
      CAPTURE(c.dump());
      const vision::ImageSize size = vision::target_size(c.at("height"), c.at("width"), c.at("budget"));
      CHECK(size.height == c.at("target_height").get<int>());
      CHECK(size.width == c.at("target_width").get<int>());
      CHECK((size.height / 48) * (size.width / 48) == c.at("soft_tokens").get<int>());
    }
  }
}

TEST_CASE("vision golden: resized pixels are exactly the reference's") {
  for (const fs::path& kit : kits()) {
    for (const json& entry : golden_json(kit / "golden" / "vision.json")) {
      const RgbImage image = read_png(kit / "golden" / entry.at("file").get<std::string>());
      const RgbImage expected = read_png(kit / "golden" / entry.at("resized_file").get<std::string>());
      const vision::ImageSize size =
          vision::target_size(image.height, image.width, entry.at("max_soft_tokens"));
      const RgbImage resized = vision::resize(image, size);
      CAPTURE(kit.string(), entry.dump());
      REQUIRE(resized.width == expected.width);
      REQUIRE(resized.height == expected.height);
      std::size_t different = 0;
      for (std::size_t i = 0; i < resized.pixels.size(); ++i) {
        different += resized.pixels[i] != expected.pixels[i];
      }
      CHECK(different == 0);
    }
  }
}

TEST_CASE("vision golden: patches, positions and every step of the tower in f32") {
  for (const fs::path& kit : kits()) {
    const ModelConfig config = load_model_config(kit / "model");
    const vision::VisionTower tower(config, Checkpoint::open(kit / "model"), ops::WeightType::f32);
    const GoldenFile golden(kit / "golden" / "vision.safetensors");
    const json entries = golden_json(kit / "golden" / "vision.json");
    REQUIRE(!entries.empty());
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const std::string prefix = std::to_string(i) + ".";
      CAPTURE(kit.string(), prefix);
      const RgbImage picture = read_png(kit / "golden" / entries[i].at("file").get<std::string>());
      const auto image = vision::preprocess_image(picture, entries[i].at("max_soft_tokens"), false);
      REQUIRE(image.soft_tokens() == entries[i].at("soft_tokens").get<int>());

      const auto rows = golden.values<std::int32_t>(prefix + "patch_rows");
      const auto patches = golden.values<float>(prefix + "patches");
      for (std::size_t r = 0; r < rows.size(); ++r) {
        CHECK(std::equal(patches.begin() + r * 768, patches.begin() + (r + 1) * 768,
                         image.patches.row(rows[r]).begin()));
      }
      const auto positions = golden.values<std::int32_t>(prefix + "position_ids");
      REQUIRE(positions.size() == 2 * image.patches.rows());
      bool in_order = true;
      for (int p = 0; p < static_cast<int>(positions.size() / 2); ++p) {
        in_order = in_order && positions[2 * p] == p % image.patch_cols &&
                   positions[2 * p + 1] == p / image.patch_cols;
      }
      CHECK(in_order);

      const Steps steps = run(tower, image);
      REQUIRE(steps.values.size() == 3 + config.vision->num_hidden_layers);
      for (const auto& [name, values] : steps.values) {
        const double worst = worst_difference(values, golden.values<float>(prefix + name));
        CAPTURE(name, worst);
        CHECK(worst <= kLimit);
      }
    }
  }
}

TEST_CASE("vision golden: video frames divide by 255 and give the reference's soft tokens") {
  for (const fs::path& kit : kits()) {
    const fs::path path = kit / "golden" / "video.safetensors";
    if (!fs::exists(path)) continue;  // the smaller kit has none
    const GoldenFile golden(path);
    const auto shape = golden.shape("frame0");
    RgbImage frame;
    frame.height = static_cast<int>(shape[0]);
    frame.width = static_cast<int>(shape[1]);
    frame.pixels = golden.values<std::uint8_t>("frame0");
    const auto image = vision::preprocess_image(frame, 70, true);
    const auto patches = golden.values<float>("frame0.patches_first16");
    CAPTURE(kit.string());
    for (std::size_t r = 0; r < 16; ++r) {
      CHECK(std::equal(patches.begin() + r * 768, patches.begin() + (r + 1) * 768,
                       image.patches.row(r).begin()));
    }
    CHECK(golden.values<std::int32_t>("frame0.position_ids").size() == 2 * image.patches.rows());

    const vision::VisionTower tower(load_model_config(kit / "model"), Checkpoint::open(kit / "model"),
                                    ops::WeightType::f32);
    const Steps steps = run(tower, image);
    for (const std::string name : {"pooled", "projected"}) {
      const double worst = worst_difference(steps.values.at(name), golden.values<float>("frame0." + name));
      CAPTURE(name, worst);
      CHECK(worst <= kLimit);
    }
    frame.pixels = golden.values<std::uint8_t>("frame_last");
    const Steps last = run(tower, vision::preprocess_image(frame, 70, true));
    CHECK(last.values.at("projected").size() == steps.values.at("projected").size());
    CHECK(last.values.at("projected") != steps.values.at("projected"));
  }
}

TEST_CASE("vision golden: bf16 weights stay close to the reference in direction") {
  for (const fs::path& kit : kits()) {
    const vision::VisionTower tower(load_model_config(kit / "model"), Checkpoint::open(kit / "model"),
                                    ops::WeightType::bf16);
    const GoldenFile golden(kit / "golden" / "vision.safetensors");
    const json entries = golden_json(kit / "golden" / "vision.json");
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const RgbImage picture = read_png(kit / "golden" / entries[i].at("file").get<std::string>());
      const Steps steps =
          run(tower, vision::preprocess_image(picture, entries[i].at("max_soft_tokens"), false));
      for (const auto& [name, values] : steps.values) {
        const double similarity = cosine(values, golden.values<float>(std::to_string(i) + "." + name));
        CAPTURE(kit.string(), i, name, similarity);
        CHECK(similarity >= 0.999);
      }
    }
  }
}

TEST_CASE("vision golden: integer weights stay close in direction, with the same bits on all processors") {
  struct Restore {
    ~Restore() { kernels::force_kernels("auto"); }
  } restore;
  for (const fs::path& kit : kits()) {
    const GoldenFile golden(kit / "golden" / "vision.safetensors");
    const json entries = golden_json(kit / "golden" / "vision.json");
    const RgbImage picture = read_png(kit / "golden" / entries[0].at("file").get<std::string>());
    const auto encode = [&](const char* names) {
      REQUIRE(kernels::force_kernels(names));
      const vision::VisionTower tower(load_model_config(kit / "model"), Checkpoint::open(kit / "model"),
                                      ops::WeightType::int8);
      return run(tower, vision::preprocess_image(picture, entries[0].at("max_soft_tokens"), false));
    };
    const Steps best = encode("auto");
    for (const auto& [name, values] : best.values) {
      const double similarity = cosine(values, golden.values<float>("0." + name));
      CAPTURE(kit.string(), name, similarity);
      CHECK(similarity >= 0.99);
    }
    // Of the plain loops only the integer sums are the same: elsewhere they round products too.
    if (std::string(kernels::row_kernels().name) != "avx512") continue;
    const Steps avx2 = encode("avx2");
    CHECK(std::string(kernels::row_kernels().name) == "avx2");
    for (const auto& [name, values] : best.values) {
      CAPTURE(kit.string(), name);
      CHECK(values == avx2.values.at(name));
    }
  }
}

TEST_CASE("vision: the number of threads does not change a bit") {
  VisionShape shape;
  shape.hidden_size = 128;
  shape.head_dim = 64;
  const auto tensors = reelfolio::test::vision_tensors(shape, 1);
  const int before = ops::num_threads();
  for (const auto type : {ops::WeightType::f32, ops::WeightType::bf16, ops::WeightType::int8}) {
    Synthetic model(reelfolio::test::vision_model_config(shape), tensors, type);
    ops::set_num_threads(1);
    const auto image = vision::preprocess_image(test_picture(200, 130), 70, false);
    const Steps one = run(model.tower, image);
    for (const int threads : {2, 3}) {
      ops::set_num_threads(threads);
      CAPTURE(threads, ops::weight_type_name(type));
      const auto again = vision::preprocess_image(test_picture(200, 130), 70, false);
      CHECK(dense(again.patches.view()) == dense(image.patches.view()));
      const Steps steps = run(model.tower, again);
      for (const auto& [name, values] : steps.values) {
        CAPTURE(name);
        CHECK(values == one.values.at(name));
      }
    }
  }
  ops::set_num_threads(before);
}

TEST_CASE("vision: an image's result does not depend on the images before it") {
  const VisionShape shape;
  Synthetic model(reelfolio::test::vision_model_config(shape), reelfolio::test::vision_tensors(shape, 2),
                  ops::WeightType::f32);
  const auto small = vision::preprocess_image(test_picture(100, 300), 70, false);
  const auto large = vision::preprocess_image(test_picture(300, 200), 140, false);
  const Steps first = run(model.tower, small);
  run(model.tower, large);
  const Steps again = run(model.tower, small);
  CHECK(first.values == again.values);
}

TEST_CASE("vision: standardize shifts and scales the pooled values") {
  const VisionShape shape;
  NamedTensors tensors = reelfolio::test::vision_tensors(shape, 3);
  ModelConfig config = reelfolio::test::vision_model_config(shape);
  const auto image = vision::preprocess_image(test_picture(90, 60), 70, false);
  Synthetic plain(config, tensors, ops::WeightType::f32);
  const auto pooled = run(plain.tower, image).values.at("pooled");

  std::vector<float> bias(shape.hidden_size), scale(shape.hidden_size);
  for (std::size_t i = 0; i < shape.hidden_size; ++i) {
    bias[i] = 0.25F * static_cast<float>(i) - 3.0F;
    scale[i] = 0.5F + 0.125F * static_cast<float>(i % 8);
  }
  tensors["model.vision_tower.std_bias"] = {{shape.hidden_size}, bias};
  tensors["model.vision_tower.std_scale"] = {{shape.hidden_size}, scale};
  config.vision->standardize = true;
  Synthetic standardized(config, tensors, ops::WeightType::f32);
  const auto result = run(standardized.tower, image).values.at("pooled");
  REQUIRE(result.size() == pooled.size());
  for (std::size_t i = 0; i < result.size(); ++i) {
    const std::size_t c = i % shape.hidden_size;
    CHECK(result[i] == (pooled[i] - bias[c]) * scale[c]);
  }
}

TEST_CASE("vision: missing bounds clip nothing, shape [1] bounds clip as scalars do") {
  const VisionShape shape;
  const auto config = reelfolio::test::vision_model_config(shape);
  const NamedTensors scalars = reelfolio::test::vision_tensors(shape, 4);
  const auto image = vision::preprocess_image(test_picture(90, 60), 70, false);
  const auto soft_tokens = [&](const ModelConfig& model, const NamedTensors& tensors) {
    return run(Synthetic(model, tensors, ops::WeightType::f32).tower, image).values.at("projected");
  };
  const auto clipped = soft_tokens(config, scalars);

  NamedTensors vectors = scalars;
  NamedTensors none = scalars;
  NamedTensors infinite = scalars;
  for (const auto& [name, tensor] : scalars) {
    const bool low = name.ends_with("put_min");
    if (!low && !name.ends_with("put_max")) continue;
    vectors[name].shape = {1};
    none.erase(name);
    infinite[name].values = {low ? -INFINITY : INFINITY};
  }
  CHECK(soft_tokens(config, vectors) == clipped);
  CHECK(soft_tokens(config, none) == soft_tokens(config, infinite));
  CHECK(soft_tokens(config, none) != clipped);
  ModelConfig unclipped = config;
  unclipped.vision->use_clipped_linears = false;
  CHECK(soft_tokens(unclipped, scalars) == soft_tokens(config, none));
}

TEST_CASE("vision: a bf16 checkpoint gives what its values give as f32") {
  const VisionShape shape;
  const auto config = reelfolio::test::vision_model_config(shape);
  NamedTensors tensors = reelfolio::test::vision_tensors(shape, 5);
  const auto image = vision::preprocess_image(test_picture(90, 60), 70, false);
  const Steps from_bf16 = run(Synthetic(config, tensors, ops::WeightType::f32, true).tower, image);
  for (auto& [name, tensor] : tensors) {
    for (float& value : tensor.values) {
      std::uint32_t bits;
      std::memcpy(&bits, &value, sizeof bits);
      bits &= 0xFFFF0000U;
      std::memcpy(&value, &bits, sizeof bits);
    }
  }
  const Steps from_f32 = run(Synthetic(config, tensors, ops::WeightType::f32).tower, image);
  CHECK(from_bf16.values == from_f32.values);
}

TEST_CASE("vision: an image beyond the position table is refused with the numbers") {
  VisionShape shape;
  shape.position_entries = 30;
  Synthetic model(reelfolio::test::vision_model_config(shape), reelfolio::test::vision_tensors(shape, 6),
                  ops::WeightType::f32);
  const auto fits = vision::preprocess_image(test_picture(480, 336), 70, false);  // 30 x 21 patches
  CHECK_NOTHROW(model.tower.check_size(fits));
  CHECK(model.tower.encode(fits).rows() == 70);
  const auto wide = vision::preprocess_image(test_picture(960, 96), 70, false);
  const std::string message = "an image of " + std::to_string(wide.patch_cols) + " x " +
                              std::to_string(wide.patch_rows) +
                              " patches exceeds the 30 positions that the model knows along each side";
  CHECK_THROWS_AS(model.tower.check_size(wide), RequestError);
  CHECK_THROWS_WITH(model.tower.encode(wide), message);
  CHECK_THROWS_AS(model.tower.encode(vision::preprocess_image(test_picture(96, 960), 70, false)),
                  RequestError);
}

TEST_CASE("vision: a damaged checkpoint is refused, naming the tensor") {
  const VisionShape shape;
  const auto config = reelfolio::test::vision_model_config(shape);
  const NamedTensors good = reelfolio::test::vision_tensors(shape, 7);
  const auto message = [](const ModelConfig& model, const NamedTensors& tensors) -> std::string {
    try {
      Synthetic synthetic(model, tensors, ops::WeightType::f32);
    } catch (const ModelError& error) {
      return error.what();
    }
    return "no error";
  };
  REQUIRE(message(config, good) == "no error");
  // Each kind of tensor, missing and then of the wrong shape.
  for (const auto& [name, tensor] : good) {
    if (name.ends_with("put_min") || name.ends_with("put_max")) continue;
    CAPTURE(name);
    NamedTensors bad = good;
    bad.erase(name);
    CHECK(message(config, bad).find(name) != std::string::npos);
    bad[name] = {{3}, {1, 2, 3}};
    CHECK(message(config, bad).find(name) != std::string::npos);
  }
  const std::string bound = "model.vision_tower.encoder.layers.1.mlp.up_proj.input_min";
  NamedTensors bad = good;
  bad[bound].values = {5.0F};
  CHECK(message(config, bad).find(bound) != std::string::npos);
  bad[bound].values = {NAN};
  CHECK(message(config, bad).find(bound) != std::string::npos);
  bad[bound] = {{2}, {-1.0F, -1.0F}};
  CHECK(message(config, bad).find(bound) != std::string::npos);

  ModelConfig no_vision = config;
  no_vision.vision.reset();
  CHECK(message(no_vision, good).find("vision_config") != std::string::npos);
  ModelConfig other_patches = config;
  other_patches.vision->patch_size = 14;
  CHECK(message(other_patches, good) == "config.json: 'vision_config.patch_size' is 14, expected 16");
  ModelConfig standardized = config;
  standardized.vision->standardize = true;
  CHECK(message(standardized, good).find("model.vision_tower.std_bias") != std::string::npos);
}
