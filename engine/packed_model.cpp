#include "engine/packed_model.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/audio/audio_tensors.h"
#include "engine/embedding_table.h"
#include "engine/error.h"
#include "engine/ops/gather.h"
#include "engine/packed_checksums.h"
#include "engine/weight_pages.h"
#include "engine/weights.h"

namespace reelfolio::engine {

namespace {

constexpr std::string_view kFileName = "packed.safetensors";
constexpr std::string_view kVersionKey = "reelfolio.packed";
constexpr std::string_view kWeightsKey = "reelfolio.weights";
/// Counts changes of the format: the layouts of quant/, the rotation's signs, the keys, the types that follow
/// from "reelfolio.weights".
constexpr std::string_view kVersion = "4";
/// Differs in int2 alone, whose heads had 4 bits a weight.
constexpr std::string_view kVersionBeforeCoarseHead = "3";
constexpr std::size_t kMatrixAlignment = 64;
/// Pages of the mapping and blocks of checksums begin together.
constexpr std::size_t kDataAlignment = 4096;
/// Bytes of a table that are converted or copied at a time.
constexpr std::size_t kPieceBytes = std::size_t{32} << 20;

const std::string kEmbedTable = "model.language_model.embed_tokens.weight";
const std::string kPerLayerEmbedTable = "model.language_model.embed_tokens_per_layer.weight";

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

  /// Data that the checksums cover.
  void write_summed(std::span<const std::byte> bytes) {
    checksums_.add(bytes);
    write(bytes);
  }
  std::vector<std::uint32_t> checksums() { return checksums_.finish(); }

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
  ChecksumWriter checksums_;
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
  text.append((kDataAlignment - (kLengthBytes + text.size()) % kDataAlignment) % kDataAlignment, ' ');
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

/// Some rows of a tensor, or elements of one without rows, as a tensor of their own: to be released when
/// done.
TensorView piece_of(const TensorView& tensor, std::size_t first_byte, std::size_t bytes) {
  TensorView piece = tensor;
  piece.bytes = tensor.bytes.subspan(first_byte, bytes);
  return piece;
}

/// f(piece, first byte): what a tensor's bytes are cut into, each released afterwards. A piece is a multiple
/// of `unit` bytes.
template <class F>
void in_pieces(const Checkpoint& checkpoint, const TensorView& tensor, std::size_t unit, F f) {
  const std::size_t step = std::max<std::size_t>(1, kPieceBytes / unit) * unit;
  for (std::size_t first = 0; first < tensor.bytes.size(); first += step) {
    const TensorView piece = piece_of(tensor, first, std::min(step, tensor.bytes.size() - first));
    checkpoint.advise_needed(piece);
    f(piece);
    checkpoint.release(piece);
  }
}

/// Rows of the per-layer table as int8, [rows, int8_table_row_bytes].
std::vector<std::byte> int8_rows(const TensorView& rows, std::size_t cols, std::size_t group) {
  const std::size_t count = rows.bytes.size() / (cols * dtype_bytes(rows.dtype));
  const std::size_t row_bytes = int8_table_row_bytes(cols, group);
  std::vector<std::byte> result(count * row_bytes);
#pragma omp parallel
  {
    std::vector<float> row(cols);
#pragma omp for schedule(static)
    for (std::size_t r = 0; r < count; ++r) {
      ops::convert_to_f32(rows.bytes, rows.dtype, r * cols, row);
      pack_int8_table_row(row, group, std::span(result).subspan(r * row_bytes, row_bytes));
    }
  }
  return result;
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

PackedPart packed_part(std::string_view tensor) {
  // Behind a '#' stands what a form other than the source's is.
  const std::string_view name = tensor.substr(0, tensor.find('#'));
  if (tensor == kEmbedTable || name == kPerLayerEmbedTable) return PackedPart::embedding_tables;
  const bool audio = name.starts_with(audio::kTowerPrefix) || name == audio::kProjectionName;
  return audio ? PackedPart::audio_tower : PackedPart::decoder_and_vision;
}

bool is_packed_matrix(const TensorView& tensor) {
  return tensor.dtype == DType::u8 && tensor.shape.size() == 1 && tensor.name != kChecksumsName;
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
    }
  }
  return specs;
}

void pack_model(const std::filesystem::path& source, const std::filesystem::path& target,
                const PackOptions& options, const PackProgress& progress, std::stop_token stop) {
  assert(options.weights != ops::WeightType::f32);
  ModelConfig config = load_model_config(source);
  const Checkpoint checkpoint = Checkpoint::open(source);
  if (!audio::has_audio_tower(config, checkpoint)) config.audio.reset();
  if (packed_weights(checkpoint)) throw ModelError(source.string() + ": is packed already");
  const std::vector<MatrixSpec> matrices = model_matrices(config, options.weights);
  const std::size_t per_layer = config.text.hidden_size_per_layer_input;
  const std::size_t table_cols = config.text.num_hidden_layers * per_layer;
  const std::size_t table_rows = config.text.vocab_size_per_layer_input;
  if (options.int8_per_layer_table) checkpoint.require(kPerLayerEmbedTable, {table_rows, table_cols});

  std::vector<Entry> entries;
  std::size_t total = 0;
  const auto add = [&](std::string name, DType dtype, std::vector<std::size_t> shape, std::size_t bytes) {
    entries.push_back({std::move(name), dtype, std::move(shape), bytes});
    total += bytes;
  };
  for (const MatrixSpec& spec : matrices) {
    checkpoint.require(spec.tensor, {spec.tensor_rows, spec.cols});  // before any work
    const std::size_t bytes = packed_shape(spec).total_bytes();
    add(spec.key, DType::u8, {bytes}, bytes);
  }
  std::vector<const TensorView*> kept;
  const auto becomes_int8 = [&](const TensorView& tensor) {
    return options.int8_per_layer_table && tensor.name == kPerLayerEmbedTable;
  };
  for (const TensorView& tensor : checkpoint.tensors()) {
    const bool packed = std::any_of(matrices.begin(), matrices.end(), [&](const MatrixSpec& spec) {
      return spec.tensor == tensor.name && spec.key.find("#head") == std::string::npos;
    });
    if (packed) continue;
    kept.push_back(&tensor);
    if (becomes_int8(tensor)) {
      const std::size_t row_bytes = int8_table_row_bytes(table_cols, per_layer);
      add(int8_table_name(tensor.name), DType::u8, {table_rows, row_bytes}, table_rows * row_bytes);
    } else {
      add(tensor.name, tensor.dtype, tensor.shape, tensor.bytes.size());
    }
  }
  const std::size_t checksum_words = 1 + (total + kChecksumBlock - 1) / kChecksumBlock;
  add(std::string(kChecksumsName), DType::u8, {4 * checksum_words}, 4 * checksum_words);

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
    const std::string header = header_text(entries, options.weights);
    const std::uint64_t length = header.size();
    file.write(std::as_bytes(std::span(&length, 1)));
    file.write(std::as_bytes(std::span(header)));
    std::size_t done = 0;
    const auto write = [&](std::span<const std::byte> bytes) {
      file.write_summed(bytes);
      done += bytes.size();
      if (progress) progress(done, total);
      if (stop.stop_requested()) throw PackCancelled{};
    };
    for (const MatrixSpec& spec : matrices) write(pack_spec(checkpoint, spec).bytes());
    for (const TensorView* tensor : kept) {
      const bool int8 = becomes_int8(*tensor);
      const std::size_t unit = int8 ? table_cols * dtype_bytes(tensor->dtype) : 1;
      in_pieces(checkpoint, *tensor, unit, [&](const TensorView& piece) {
        if (int8) {
          write(int8_rows(piece, table_cols, per_layer));
        } else {
          write(piece.bytes);
        }
      });
    }
    std::vector<std::uint32_t> checksums{checksum_of(std::as_bytes(std::span(header)))};
    const std::vector<std::uint32_t> blocks = file.checksums();
    checksums.insert(checksums.end(), blocks.begin(), blocks.end());
    assert(checksums.size() == checksum_words);
    file.write(std::as_bytes(std::span(checksums)));
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
  const std::string* name = checkpoint.metadata(kWeightsKey);
  const auto type = name == nullptr ? std::nullopt : ops::find_weight_type(*name);
  const bool is_readable = *version == kVersion ||
                           (*version == kVersionBeforeCoarseHead && type && *type != ops::WeightType::int2);
  if (!is_readable) {
    throw ModelError(file + ": is packed in version '" + *version + "', expected '" + std::string(kVersion) +
                     "'; pack the model again");
  }
  if (!type || *type == ops::WeightType::f32) {
    throw ModelError(file + ": metadata '" + std::string(kWeightsKey) + "' is " +
                     (name == nullptr ? "missing" : "'" + *name + "'") +
                     ", expected bf16, int8, int4 or int2");
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
  if (reinterpret_cast<std::uintptr_t>(tensor->bytes.data()) % kMatrixAlignment != 0) {
    throw ModelError(tensor->file + ": matrix '" + tensor->name + "' does not start at a multiple of " +
                     std::to_string(kMatrixAlignment));
  }
  return quant::packed_view(shape, tensor->bytes.data());
}

void verify_packed_model(const Checkpoint& checkpoint, PackedPart part) {
  const auto weights = packed_weights(checkpoint);
  if (!weights) return;
  std::vector<const TensorView*> tensors;
  for (const TensorView& tensor : checkpoint.tensors()) {
    if (packed_part(tensor.name) == part) tensors.push_back(&tensor);
  }
  const auto damaged = PackedChecksums(checkpoint).damaged(tensors, spares_memory(*weights));
  if (!damaged.empty()) throw ModelError(PackedChecksums::complaint(*damaged.front()));
}

std::vector<std::string> packed_model_damage(const Checkpoint& checkpoint) {
  std::vector<std::string> complaints;
  std::vector<const TensorView*> tensors;
  for (const TensorView& tensor : checkpoint.tensors()) tensors.push_back(&tensor);
  for (const TensorView* tensor : PackedChecksums(checkpoint).damaged(tensors, true)) {
    complaints.push_back(PackedChecksums::complaint(*tensor));
  }
  return complaints;
}

}  // namespace reelfolio::engine
