#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "stages/audio/mono_sound.h"
#include "stages/audio/track_choice.h"
#include "stages/error.h"
#include "stages/video/libav.h"
#include "stages/video/stream_reader.h"

namespace reelfolio::stages {

struct AudioReaderOptions {
  TrackChoice track;
  std::function<bool()> interrupted;  ///< asked while reading; once true, reading ends with `Interrupted`
};

/// The sound of one file as the model hears it (engine::AudioClip), in order, from the start of the file.
///
/// Sample n is what sounds at n / 16000 s, counted as VideoReader counts frames: from the start of the file's
/// earliest stream. Timestamps decide, with edit lists and encoder delay taken into account: a track that
/// starts late begins with silence, gaps are silence, and what overlaps is dropped. Jitter of up to 5 ms is
/// not followed, up to 40 ms only where it lasts. Where timestamps jump back by more than a second, or ahead
/// where that cannot be a pause (a new clock in a broadcast, beyond the file's length or half a day), sound
/// goes on from the sample before. Packets that cannot be decoded leave silence.
///
/// Owns the open file and its decoder and holds one second of sound at most. Not thread-safe.
class AudioReader {
 public:
  using Interrupted = StreamReader::Interrupted;

  /// Opens the file and chooses the track. Throws ItemError "input.unreadable", "audio.unreadable" (no
  /// container that FFmpeg knows, or damaged beyond use), "audio.unsupported" (no decoder),
  /// "audio.no_track" (choose_track).
  explicit AudioReader(const std::filesystem::path& path, AudioReaderOptions options = {});

  /// Whether the file has sound. If not there is nothing to read.
  bool has_track() const { return file_.stream() != nullptr; }
  /// Replaces `samples` by the next ones, at least one; false at the end. Throws Interrupted.
  bool next(std::vector<float>& samples);
  /// The number of samples that `next` has given.
  std::int64_t position() const { return given_; }
  /// How long the file says it is, with all its streams; absent where it does not.
  std::optional<double> length_s() const { return file_.length_s(); }

  /// What went wrong since the last call: "audio.corrupt", "memory.limit", and once `next` has returned false
  /// "audio.truncated".
  std::vector<ItemError> take_problems();

 private:
  bool decode();
  void place_frame();
  std::optional<int> samples_to_skip(double time_s);
  void begin_stretch(int rate);
  void end_stretch();
  std::int64_t output_end() const;
  double end_s() const;
  bool is_new_clock(double time_s, double ahead_s) const;
  std::optional<double> declared_end_s() const;

  StreamReader file_;
  libav::FramePtr frame_;

  Resampler resampler_;
  std::vector<float> mono_;
  std::vector<float> ready_;  // resampled, not yet given
  std::int64_t given_ = 0;
  std::int64_t silence_ = 0;  // zeros to be given after ready_
  bool frame_waits_ = false;  // frame_ comes after that silence
  bool in_stretch_ = false;   // sound without a gap, which one run of the resampler covers
  double stretch_start_s_ = 0;
  std::int64_t stretch_samples_ = 0;  // at the track's rate

  std::optional<double> origin_s_;  // of the file's clock; unknown until a timestamp is seen
  double jump_s_ = 0;               // added where timestamps start over
  double added_silence_s_ = 0;
  double overlapped_s_ = 0;           // dropped in a row
  std::vector<double> deviations_s_;  // of the latest frames, while all lie to one side
  bool at_end_ = false;

  // For take_problems().
  bool end_reported_ = false;
  bool lacks_memory_ = false;  // and gave nothing for it
  std::int64_t not_finite_ = 0;
  double packets_end_s_ = 0;
};

}  // namespace reelfolio::stages
