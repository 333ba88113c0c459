#pragma once

#include <map>
#include <memory>
#include <string>

#include "engine/engine.h"

namespace reelfolio::pipeline {

/// Hashes of pictures and sounds, each made once per object. Objects are to outlive it.
class MediaHashes {
 public:
  const std::string& of(const std::shared_ptr<const engine::RgbImage>& image);
  const std::string& of(const std::shared_ptr<const engine::AudioClip>& clip);
  /// For an object that stands in for one whose hash is known.
  void set(const void* object, std::string hash) { known_[object] = std::move(hash); }

 private:
  std::map<const void*, std::string> known_;
};

/// Names an answer: 32 bytes, equal for requests that have the same answer. Covers all that a request
/// holds (pictures and sounds by content) and the model.
///
/// model       fingerprint of the model and type of its weights
/// constraint  stands for the request's constraint, if it has one
std::string answer_key(const std::string& model, const engine::Request& request,
                       const std::string& constraint, MediaHashes& media);

}  // namespace reelfolio::pipeline
