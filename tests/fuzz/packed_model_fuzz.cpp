#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <vector>

#include "engine/error.h"
#include "engine/packed_model.h"
#include "tests/support/temp_folder.h"

using namespace reelfolio;
using namespace reelfolio::engine;

namespace {

/// Every weight of a matrix can be read.
void read_all(const quant::PackedMatrix& matrix) {
  std::vector<float> row(matrix.shape.in);
  for (std::size_t i = 0; i < matrix.shape.out; ++i) quant::unpack_row(matrix, i, row);
}

}  // namespace

/// A packed file: whatever matrix is found in it lies in it.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // For the whole run; the system's temporary folder is usually in memory.
  static const test::TempFolder folder;
  const auto path = folder / "packed.safetensors";
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  try {
    const Checkpoint checkpoint = Checkpoint::open(folder.path());
    if (const auto weights = packed_weights(checkpoint)) {
      try {
        (void)packed_model_damage(checkpoint);
      } catch (const ModelError&) {
      }
      for (const TensorView& tensor : checkpoint.tensors()) {
        for (const std::size_t rows : {1, 3, 64}) {
          for (const std::size_t cols : {1, 64, 100}) {
            try {
              if (const auto matrix = find_packed_matrix(checkpoint, tensor.name, rows, cols, *weights)) {
                read_all(*matrix);
              }
            } catch (const ModelError&) {
            }
          }
        }
      }
    }
  } catch (const ModelError&) {
  }
  std::filesystem::remove(path);
  return 0;
}
