#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "stages/decoder/decode.h"
#include "stages/item.h"

/// What a decoder process and its parent say to each other, as bytes. The process may have been taken
/// over by the file that it decodes: `parse` believes nothing, and allocates no more than a
/// multiple of the bytes that it is given.
namespace reelfolio::stages {

/// Bytes that are no message, or one that cannot be.
class ProtocolError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A picture whose pixels follow the message.
struct PictureShape {
  int width = 0;
  int height = 0;
  int soft_tokens = 0;
  std::optional<double> time_s;
  std::size_t bytes() const { return std::size_t{3} * static_cast<std::size_t>(width) * height; }
};

/// A clip of sound whose samples follow the message, behind the pictures.
struct ClipShape {
  std::uint32_t samples = 0;
  double start_s = 0;
  std::size_t bytes() const { return sizeof(float) * samples; }
};

struct SoundShape {
  bool no_track = false;
  std::vector<ClipShape> clips;
};

/// What the process tells. Which members mean something depends on the kind.
struct Message {
  enum class Kind : std::uint8_t {
    probed,       ///< media; or, with a code, why nothing could be told
    emitted,      ///< stage, unit, pictures, sound
    unit_closed,  ///< unit
    failed,       ///< stage (or kInputs), unit, code, text
    count,        ///< text, of which the number of tokens is wanted
    done,         ///< costs
  };
  Kind kind = Kind::done;
  int stage = DecodePlan::kInputs;
  MediaKind media = MediaKind::unknown;
  /// Units are numbered from 1 in the order in which they are first named; 0 is none.
  std::uint32_t unit = 0;
  /// Where its number is named for the first time; failed, with number 0: a unit that never was emitted.
  std::shared_ptr<const Unit> new_unit;
  bool cuts_unit = false;  ///< emitted: the stage cut the unit just now
  std::vector<PictureShape> pictures;
  std::optional<SoundShape> sound;
  std::string code;
  std::string text;
  std::vector<StageTimer::Cost> costs;

  static constexpr std::size_t kMostBytes = std::size_t{64} << 20U;
  static constexpr std::size_t kMostPictures = 1024;
  static constexpr std::size_t kMostClips = 1024;

  std::vector<std::uint8_t> bytes() const;
  /// Throws ProtocolError. Texts come out as valid UTF-8, numbers within what their types mean.
  static Message parse(std::span<const std::uint8_t> bytes);
};

/// What the parent asks for.
struct DecodeRequest {
  enum class Kind : std::uint8_t { probe, decode };
  Kind kind = Kind::probe;
  InputFile input;  ///< probe: the path alone

  std::vector<std::uint8_t> bytes() const;
  /// Throws ProtocolError.
  static DecodeRequest parse(std::span<const std::uint8_t> bytes);
};

}  // namespace reelfolio::stages
