#include "engine/packed_model.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/audio/audio_tensors.h"
#include "engine/error.h"
#include "engine/ops/gather.h"
#include "engine/weights.h"

namespace reelfolio::engine {

namespace {

constexpr std::string_view kFileName = "packed.safetensors";
constexpr std::string_view kVersionKey = "reelfolio.packed";
constexpr std::string_view kWeightsKey = "reelfolio.weights";
/// Counts changes of the format: the layouts of quant/, the rotation's signs, the keys.
constexpr std::string_view kVersion = "2";
constexpr std::string_view kChecksumSuffix = "#sha256";
constexpr std::size_t kPackedAlignment = 64;

/// Beside the tensors, what a model directory needs to be used.
constexpr std::string_view kCopiedFiles[] = {"config.json",
                                             "generation_config.json",
                                             "processor_config.json",
                                             "preprocessor_config.json",
                                             "tokenizer.json",
                                             "tokenizer_config.json",
                                             "chat_template.jinja",
                                             "chat_template.json",
                                             "special_tokens_map.json"};

using Digest = std::array<std::byte, 32>;

Digest sha256(std::span<const std::byte> bytes) {
  Digest digest{};
  std::size_t length = digest.size();
  if (EVP_Q_digest(nullptr, "SHA256", nullptr, bytes.data(), bytes.size(),
                   reinterpret_cast<unsigned char*>(digest.data()), &length) != 1) {
    throw std::runtime_error("SHA-256 is not available");
  }
  return digest;
}

std::string errno_text() {
  return std::strerror(errno);
}

/// A file being written, whole or not at all: the caller renames its folder at the end.
class OutputFile {
 public:
  explicit OutputFile(const std::filesystem::path& path)
      : path_(path), fd_(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)) {
    if (fd_ < 0) throw PackWriteError(path.string() + ": cannot be written: " + errno_text());
  }
  ~OutputFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      // Pieces small enough that a full disk is noticed while there is still something to say.
      const ssize_t count =
          ::write(fd_, bytes.data(), std::min<std::size_t>(bytes.size(), std::size_t{16} << 20));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) throw PackWriteError(path_.string() + ": cannot be written: " + errno_text());
      bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
  }
  void finish() {
    if (::fsync(fd_) != 0) throw PackWriteError(path_.string() + ": cannot be written: " + errno_text());
  }

 private:
  std::filesystem::path path_;
  int fd_;
};

void sync_folder(const std::filesystem::path& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::fsync(fd);
  ::close(fd);
}

/// One entry of the packed file, in the order of its bytes.
struct Entry {
  std::string name;
  DType dtype = DType::u8;
  std::vector<std::size_t> shape;
  std::size_t bytes = 0;
};

std::string header_text(const std::vector<Entry>& entries, ops::WeightType weights) {
  nlohmann::ordered_json header;
  header["__metadata__"] = {{kVersionKey, kVersion}, {kWeightsKey, ops::weight_type_name(weights)}};
  std::size_t offset = 0;
  for (const Entry& entry : entries) {
    header[entry.name] = {{"dtype", dtype_name(entry.dtype)},
                          {"shape", entry.shape},
                          {"data_offsets", {offset, offset + entry.bytes}}};
    offset += entry.bytes;
  }
  std::string text = header.dump();
  // Spaces up to where the first matrix may start, counted from the front of the file.
  constexpr std::size_t kLengthBytes = 8;
  text.append((kPackedAlignment - (kLengthBytes + text.size()) % kPackedAlignment) % kPackedAlignment, ' ');
  return text;
}

quant::PackedBuffer pack_spec(const Checkpoint& checkpoint, const MatrixSpec& spec) {
  const TensorView& tensor = checkpoint.require(spec.tensor, {spec.tensor_rows, spec.cols});
  quant::PackedBuffer buffer =
      quant::pack_matrix(packed_shape(spec), [&](std::size_t n, std::span<float> row) {
        ops::convert_to_f32(tensor.bytes, tensor.dtype, (spec.first_row + n) * spec.cols, row);
      });
  checkpoint.release(tensor);
  return buffer;
}

void copy_files(const std::filesystem::path& source, const std::filesystem::path& target) {
  for (const std::string_view name : kCopiedFiles) {
    if (!std::filesystem::exists(source / name)) continue;
    std::error_code error;
    std::filesystem::copy_file(source / name, target / name, error);
    if (error) throw PackWriteError((target / name).string() + ": cannot be written: " + error.message());
  }
}

}  // namespace

quant::PackedShape packed_shape(const MatrixSpec& spec) {
  return {ops::packed_format(spec.type), spec.rows, spec.cols};
}

std::string checksum_key(const MatrixSpec& spec) {
  return spec.key + std::string(kChecksumSuffix);
}

std::vector<MatrixSpec> model_matrices(const ModelConfig& config, ops::WeightType weights) {
  const WeightPlan plan(weights);
  const TextConfig& text = config.text;
  const std::string prefix = "model.language_model.";
  std::vector<MatrixSpec> specs;
  const auto add = [&specs](const std::string& tensor, std::size_t rows, std::size_t cols,
                            ops::WeightType type) {
    specs.push_back({tensor, tensor, rows, 0, rows, cols, type});
  };
  const std::size_t per_layer = text.hidden_size_per_layer_input;
  add(prefix + "embed_tokens.weight", text.vocab_size, text.hidden_size, plan.head);
  // The head's own table stays in the file for look-ups, so the packed one needs a name of its own.
  specs.back().key += "#head";
  const std::size_t projection_rows = text.num_hidden_layers * per_layer;
  const std::size_t early = text.first_kv_shared_layer * per_layer;
  const std::string projection = prefix + "per_layer_model_projection.weight";
  if (early > 0) {
    specs.push_back(
        {projection, projection + "#early", projection_rows, 0, early, text.hidden_size, plan.per_layer});
  }
  if (early < projection_rows) {
    specs.push_back({projection, projection + "#late", projection_rows, early, projection_rows - early,
                     text.hidden_size, plan.per_layer});
  }
  for (std::size_t i = 0; i < text.layers.size(); ++i) {
    const TextLayerConfig& layer = text.layers[i];
    const std::string name = prefix + "layers." + std::to_string(i) + ".";
    const std::size_t q_size = text.num_attention_heads * layer.head_dim;
    const std::size_t kv_size = layer.num_key_value_heads * layer.head_dim;
    add(name + "self_attn.q_proj.weight", q_size, text.hidden_size, plan.layers);
    add(name + "self_attn.o_proj.weight", text.hidden_size, q_size, plan.layers);
    add(name + "mlp.gate_proj.weight", layer.intermediate_size, text.hidden_size, plan.layers);
    add(name + "mlp.up_proj.weight", layer.intermediate_size, text.hidden_size, plan.layers);
    add(name + "mlp.down_proj.weight", text.hidden_size, layer.intermediate_size, plan.layers);
    add(name + "per_layer_input_gate.weight", per_layer, text.hidden_size, plan.per_layer);
    add(name + "per_layer_projection.weight", text.hidden_size, per_layer, plan.per_layer);
    if (layer.kv_layer != i) continue;
    add(name + "self_attn.k_proj.weight", kv_size, text.hidden_size, plan.layers);
    add(name + "self_attn.v_proj.weight", kv_size, text.hidden_size, plan.layers);
  }
  if (config.vision) {
    const VisionConfig& vision = *config.vision;
    const std::size_t heads = vision.num_attention_heads * vision.head_dim;
    add("model.embed_vision.embedding_projection.weight", text.hidden_size, vision.hidden_size, plan.vision);
    for (std::size_t i = 0; i < vision.num_hidden_layers; ++i) {
      const std::string name = "model.vision_tower.encoder.layers." + std::to_string(i) + ".";
      for (const char* projection_name : {"q_proj", "k_proj", "v_proj"}) {
        add(name + "self_attn." + projection_name + ".linear.weight", heads, vision.hidden_size, plan.vision);
      }
      add(name + "self_attn.o_proj.linear.weight", vision.hidden_size, heads, plan.vision);
      add(name + "mlp.gate_proj.linear.weight", vision.intermediate_size, vision.hidden_size, plan.vision);
      add(name + "mlp.up_proj.linear.weight", vision.intermediate_size, vision.hidden_size, plan.vision);
      add(name + "mlp.down_proj.linear.weight", vision.hidden_size, vision.intermediate_size, plan.vision);
    }
  }
  if (config.audio) {
    for (const audio::AudioTensor& tensor : audio::audio_tensors(config)) {
      if (tensor.use != audio::AudioTensor::Use::matrix) continue;
      add(tensor.name, tensor.shape[0], tensor.shape[1], plan.audio);
      specs.back().part = PackedPart::audio_tower;
    }
  }
  return specs;
}

void pack_model(const std::filesystem::path& source, const std::filesystem::path& target,
                ops::WeightType weights, const PackProgress& progress, std::stop_token stop) {
  assert(ops::is_quantized(weights));
  ModelConfig config = load_model_config(source);
  const Checkpoint checkpoint = Checkpoint::open(source);
  if (!audio::has_audio_tower(config, checkpoint)) config.audio.reset();
  if (packed_weights(checkpoint)) throw ModelError(source.string() + ": is packed already");
  const std::vector<MatrixSpec> matrices = model_matrices(config, weights);

  std::vector<Entry> entries;
  for (const MatrixSpec& spec : matrices) {
    checkpoint.require(spec.tensor, {spec.tensor_rows, spec.cols});  // before any work
    const std::size_t bytes = packed_shape(spec).total_bytes();
    entries.push_back({spec.key, DType::u8, {bytes}, bytes});
  }
  for (const MatrixSpec& spec : matrices) {
    entries.push_back({checksum_key(spec), DType::u8, {Digest{}.size()}, Digest{}.size()});
  }
  std::vector<const TensorView*> kept;
  for (const TensorView& tensor : checkpoint.tensors()) {
    const bool packed = std::any_of(matrices.begin(), matrices.end(), [&](const MatrixSpec& spec) {
      return spec.tensor == tensor.name && spec.key.find("#head") == std::string::npos;
    });
    if (packed) continue;
    kept.push_back(&tensor);
    entries.push_back({tensor.name, tensor.dtype, tensor.shape, tensor.bytes.size()});
  }
  std::size_t total = 0;
  for (const Entry& entry : entries) total += entry.bytes;

  std::error_code error;
  if (std::filesystem::exists(target) && !std::filesystem::is_empty(target, error)) {
    throw PackWriteError(target.string() + ": exists and is not an empty folder");
  }
  std::filesystem::path partial = target.lexically_normal();
  if (!partial.has_filename()) partial = partial.parent_path();
  partial += ".partial";
  std::filesystem::remove_all(partial, error);
  if (!std::filesystem::create_directories(partial, error) || error) {
    throw PackWriteError(partial.string() + ": cannot be created: " + error.message());
  }
  try {
    copy_files(source, partial);
    OutputFile file(partial / kFileName);
    const std::string header = header_text(entries, weights);
    const std::uint64_t length = header.size();
    file.write(std::as_bytes(std::span(&length, 1)));
    file.write(std::as_bytes(std::span(header)));
    std::size_t done = 0;
    const auto advance = [&](std::size_t bytes) {
      done += bytes;
      if (progress) progress(done, total);
      if (stop.stop_requested()) throw PackCancelled{};
    };
    std::vector<Digest> checksums;
    for (const MatrixSpec& spec : matrices) {
      const quant::PackedBuffer buffer = pack_spec(checkpoint, spec);
      checksums.push_back(sha256(buffer.bytes()));
      file.write(buffer.bytes());
      advance(buffer.bytes().size());
    }
    for (const Digest& checksum : checksums) file.write(checksum);
    for (const TensorView* tensor : kept) {
      file.write(tensor->bytes);
      checkpoint.release(*tensor);
      advance(tensor->bytes.size());
    }
    file.finish();
    sync_folder(partial);
    std::filesystem::remove(target, error);  // an empty folder may stand there
    std::filesystem::rename(partial, target, error);
    if (error) throw PackWriteError(target.string() + ": cannot be written: " + error.message());
    sync_folder(std::filesystem::absolute(target).parent_path());
  } catch (...) {
    std::filesystem::remove_all(partial, error);
    throw;
  }
}

std::optional<ops::WeightType> packed_weights(const Checkpoint& checkpoint) {
  const std::string* version = checkpoint.metadata(kVersionKey);
  if (version == nullptr) return std::nullopt;
  const std::string file(kFileName);
  if (*version != kVersion) {
    throw ModelError(file + ": is packed in version '" + *version + "', expected '" + std::string(kVersion) +
                     "'; pack the model again");
  }
  const std::string* name = checkpoint.metadata(kWeightsKey);
  const auto type = name == nullptr ? std::nullopt : ops::find_weight_type(*name);
  if (!type || !ops::is_quantized(*type)) {
    throw ModelError(file + ": metadata '" + std::string(kWeightsKey) + "' is " +
                     (name == nullptr ? "missing" : "'" + *name + "'") + ", expected int8, int4 or int2");
  }
  return type;
}

std::optional<quant::PackedMatrix> find_packed_matrix(const Checkpoint& checkpoint, std::string_view key,
                                                      std::size_t rows, std::size_t cols,
                                                      ops::WeightType type) {
  if (!packed_weights(checkpoint)) return std::nullopt;
  const quant::PackedShape shape{ops::packed_format(type), rows, cols};
  const TensorView* tensor = checkpoint.find(key);
  if (tensor == nullptr) {
    throw ModelError(std::string(kFileName) + ": matrix '" + std::string(key) + "' is missing");
  }
  if (tensor->dtype != DType::u8 || tensor->bytes.size() != shape.total_bytes()) {
    throw ModelError(tensor->file + ": matrix '" + tensor->name + "' has " +
                     std::to_string(tensor->bytes.size()) + " bytes, expected " +
                     std::to_string(shape.total_bytes()));
  }
  if (reinterpret_cast<std::uintptr_t>(tensor->bytes.data()) % kPackedAlignment != 0) {
    throw ModelError(tensor->file + ": matrix '" + tensor->name + "' does not start at a multiple of " +
                     std::to_string(kPackedAlignment));
  }
  return quant::packed_view(shape, tensor->bytes.data());
}

void verify_packed_model(const Checkpoint& checkpoint, const ModelConfig& config, PackedPart part) {
  const auto weights = packed_weights(checkpoint);
  if (!weights) return;
  std::vector<MatrixSpec> matrices = model_matrices(config, *weights);
  matrices.erase(std::remove_if(matrices.begin(), matrices.end(),
                                [part](const MatrixSpec& spec) { return spec.part != part; }),
                 matrices.end());
  std::vector<std::string> problems(matrices.size());
#pragma omp parallel for schedule(dynamic)
  for (std::size_t i = 0; i < matrices.size(); ++i) {
    const TensorView* matrix = checkpoint.find(matrices[i].key);
    const TensorView* checksum = checkpoint.find(checksum_key(matrices[i]));
    if (matrix == nullptr || checksum == nullptr || checksum->bytes.size() != Digest{}.size()) {
      problems[i] = "is missing or has no checksum";
    } else {
      checkpoint.advise_needed(*matrix);
      const Digest digest = sha256(matrix->bytes);
      if (!std::equal(digest.begin(), digest.end(), checksum->bytes.begin())) {
        problems[i] = "does not match its checksum: the file is damaged or was copied in part";
      }
    }
  }
  for (std::size_t i = 0; i < matrices.size(); ++i) {
    if (!problems[i].empty()) {
      throw ModelError(std::string(kFileName) + ": matrix '" + matrices[i].key + "' " + problems[i]);
    }
  }
}

}  // namespace reelfolio::engine
