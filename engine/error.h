#pragma once

#include <stdexcept>
#include <string>

namespace reelfolio::engine {

/// A model directory that cannot be used: a file is missing, corrupt or of the
/// wrong shape. The message names the file and, where there is one, the tensor:
///   model.safetensors: tensor 'a.weight' is [768, 588], expected [768, 768]
class ModelError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A request that the loaded model cannot answer: a prompt longer than its
/// context, an image with a zero side, a soft-token budget it does not know.
/// The model stays usable.
class RequestError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace reelfolio::engine
