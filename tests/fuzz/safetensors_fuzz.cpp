#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "engine/error.h"
#include "engine/safetensors.h"
#include "tests/support/temp_folder.h"

using namespace reelfolio;
using namespace reelfolio::engine;

/// One file of tensors; what opens must be readable to the last byte.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // For the whole run; the system's temporary folder is usually in memory.
  static const test::TempFolder folder;
  const bool is_index = size > 0 && data[0] == '{';
  const auto path = folder / (is_index ? "model.safetensors.index.json" : "model.safetensors");
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  try {
    const Checkpoint checkpoint = Checkpoint::open(folder.path());
    unsigned sum = 0;
    for (const TensorView& tensor : checkpoint.tensors()) {
      std::size_t expected = dtype_bytes(tensor.dtype);
      for (const std::size_t dimension : tensor.shape) expected *= dimension;
      if (tensor.bytes.size() != expected) std::abort();
      for (const std::byte byte : tensor.bytes) sum += static_cast<unsigned>(byte);
      if (checkpoint.find(tensor.name) != &tensor) std::abort();
      checkpoint.release(tensor);
    }
    volatile unsigned keep = sum;
    (void)keep;
  } catch (const ModelError&) {
  }
  std::filesystem::remove(path);
  return 0;
}
