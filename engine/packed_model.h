#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "engine/config.h"
#include "engine/ops/matmul.h"
#include "engine/quant/packed_matrix.h"
#include "engine/safetensors.h"

/// Packed models: a directory with matrices converted once, in the layout that the kernels read,
/// so that loading maps a file instead of converting 16 GB.
///
/// The directory holds copies of the source's JSON files and chat template and one file,
/// packed.safetensors. Its data starts at a multiple of 4096. First come the matrices, each an array of U8
/// with the memory of a quant::PackedBuffer, whose length is a multiple of 64, so that all of them are
/// 64-byte aligned; then every other tensor as the source has it, the embedding tables included (the
/// per-layer one as int8 where that was asked for, see embedding_table.h); then the checksums of all that
/// (packed_checksums.h). The header's __metadata__ says
///   "reelfolio.packed": the format's version, "reelfolio.weights": "int4"
/// and what lies in a matrix follows from that and config.json (model_matrices).
namespace reelfolio::engine {

/// What is verified when: the decoder and the vision tower when a model is loaded, the audio tower when it is
/// first needed, rows of the embedding tables when they are looked up.
enum class PackedPart { decoder_and_vision, audio_tower, embedding_tables };

/// The part that a tensor of a packed file belongs to.
PackedPart packed_part(std::string_view tensor);
/// Whether it is a matrix in the kernels' layout, and no table or checksums.
bool is_packed_matrix(const TensorView& tensor);

/// A matrix that the engine multiplies by, or some rows of one.
struct MatrixSpec {
  std::string tensor;  ///< name in the checkpoint
  std::string key;     ///< name in a packed file: the tensor's, or with "#early", "#late" behind it
  std::size_t tensor_rows = 0;
  std::size_t first_row = 0;
  std::size_t rows = 0;
  std::size_t cols = 0;
  ops::WeightType type = ops::WeightType::bf16;
};

/// Every matrix of the text decoder, the vision tower and the audio tower that takes the type of
/// `weights` or a finer one (weights.h), in loading order.
std::vector<MatrixSpec> model_matrices(const ModelConfig& config, ops::WeightType weights);

/// The memory of that matrix in a packed file.
quant::PackedShape packed_shape(const MatrixSpec& spec);

/// The packed directory cannot be written.
class PackWriteError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};
struct PackCancelled {};

/// done and total in bytes of the packed file.
using PackProgress = std::function<void(std::size_t done, std::size_t total)>;

struct PackOptions {
  ops::WeightType weights = ops::WeightType::int8;  ///< not f32
  /// The table of per-layer embeddings as int8, half its size on disk; otherwise as the source has it.
  bool int8_per_layer_table = false;
};

/// Packs the directory `source` into `target`, which must not exist or be an empty folder.
/// Works beside it under another name and renames at the end, so that a pack which is
/// stopped, or killed, leaves nothing under `target`. Holds one matrix at a time. The same source gives the
/// same bytes.
/// Throws ModelError (the source), PackWriteError (the target) and PackCancelled.
void pack_model(const std::filesystem::path& source, const std::filesystem::path& target,
                const PackOptions& options, const PackProgress& progress, std::stop_token stop);

/// The type of weights that a packed checkpoint has; nullopt for a plain one. Throws ModelError
/// for a packed file of another version.
std::optional<ops::WeightType> packed_weights(const Checkpoint& checkpoint);

/// The matrix of that key in a packed checkpoint; nullopt in a plain one. Borrowed from the
/// checkpoint's mapping. Throws ModelError naming file and matrix where it is missing or
/// misshapen. Contents are not read: see verify_packed_model.
std::optional<quant::PackedMatrix> find_packed_matrix(const Checkpoint& checkpoint, std::string_view key,
                                                      std::size_t rows, std::size_t cols,
                                                      ops::WeightType type);

/// Compares every byte of a part of a packed checkpoint with its checksums, on the engine's OpenMP
/// threads, about as fast as memory is read. Throws ModelError naming the first tensor that
/// differs. Does nothing for a plain checkpoint.
void verify_packed_model(const Checkpoint& checkpoint, PackedPart part);
/// All of it: the tensors that differ, as ModelError words it. Throws ModelError where the checksums
/// themselves are missing or damaged.
std::vector<std::string> packed_model_damage(const Checkpoint& checkpoint);

}  // namespace reelfolio::engine
