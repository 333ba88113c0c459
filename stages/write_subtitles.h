#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "stages/stage.h"
#include "stages/subtitle_cues.h"

namespace reelfolio::stages {

struct SubtitleSettings {
  std::vector<SubtitleFormat> formats;  ///< none: no subtitles
  std::filesystem::path folder;         ///< made where it is missing
  /// Names of the transcribe stages. With several, file names tell of which.
  std::vector<std::string> stages;
};

/// Writes the transcripts of each input as subtitles, one file for each format and stage, and hands the
/// result on to `next`; an input without a transcript gets none, one in which nobody speaks an empty one.
///
/// A file appears under its name complete or not at all, before the input's lines are written. Names are
/// those of the inputs under `folder`, with the format added: "films/trip.mp4" -> "films/trip.mp4.srt", or
/// "films/trip.mp4.speech.srt" where there are several stages. See subtitle_path.
std::unique_ptr<Sink> make_subtitle_sink(SubtitleSettings settings, std::unique_ptr<Sink> next);

/// "films/trip.mp4", "srt" -> "films/trip.mp4.srt": relative and below every folder it is put into. A leading
/// "/" and
/// "." are left out, ".." becomes "__", control characters "_", and long parts are cut; where that changed
/// characters or lengths, or `with_hash`, eight digits of the SHA-256 of the path stand before the ending.
std::filesystem::path subtitle_path(const InputFile& input, const std::string& ending, bool with_hash);

}  // namespace reelfolio::stages
