#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>

#include "pipeline/answer_key.h"
#include "pipeline/history.h"
#include "stages/decoder/decode.h"

namespace reelfolio::pipeline {

/// Notes what decoding reports while it happens. One thread.
class DecodingRecorder {
 public:
  void emitted(int stage, const stages::Item& item, bool is_new, MediaHashes& media);
  void unit_closed(const std::shared_ptr<const stages::Unit>& unit);
  void failed(int stage, std::shared_ptr<const stages::Unit> unit, const std::string& code,
              const std::string& message);

  /// The whole.
  Decoding take() { return std::move(decoding_); }

 private:
  void name_unit(const std::shared_ptr<const stages::Unit>& unit, stages::Message& message);

  Decoding decoding_;
  std::map<const stages::Unit*, std::uint32_t> units_;     ///< not closed yet
  std::vector<std::shared_ptr<const stages::Unit>> kept_;  ///< so that no address comes twice
};

/// Makes what an emitted item carried from what is recorded of it: content hash and shape.
struct MakeMedia {
  std::function<std::shared_ptr<const engine::RgbImage>(const std::string& hash,
                                                        const stages::PictureShape& shape)>
      picture;
  std::function<std::shared_ptr<const engine::AudioClip>(const std::string& hash,
                                                         const stages::ClipShape& shape)>
      clip;
};

/// Reports again what a decoding of `input` reported, to `events`; items carry what `make`
/// makes. False: the record is not one of this plan; what was reported until then is
/// not the whole. Throws what `events` throws.
bool replay(const Decoding& decoding, const stages::DecodePlan& plan,
            const std::shared_ptr<const stages::InputFile>& input, const MakeMedia& make,
            stages::DecodeEvents& events);

}  // namespace reelfolio::pipeline
