#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// Transcripts as subtitles.
namespace reelfolio::stages {

enum class SubtitleFormat { srt, vtt };
/// "srt", "vtt": the name's extension too.
std::string_view subtitle_format_name(SubtitleFormat format);
std::optional<SubtitleFormat> find_subtitle_format(std::string_view name);

/// What was said in a clip.
struct Speech {
  double start_s = 0;
  double end_s = 0;
  std::string text;  ///< UTF-8
};

/// One subtitle: shown in [start_s, end_s).
struct Cue {
  double start_s = 0;
  double end_s = 0;
  std::vector<std::string> lines;  ///< 1 or 2
};

/// Cues of `speech`, which ascends. They ascend and never overlap.
///
/// A transcript has no times within its clip: it is shared out over the clip's time by the width of the text.
/// A cue has at most two lines of 42 columns, the lower one the longer if they differ, and ends at a
/// sentence's end, else after a comma, else between words, where that leaves the cues about equally
/// long. A cue is shown for at most 7 s, and for at least 5/6 s and long enough to read 17 columns a second
/// where the next one leaves the time; 1/12 s is kept free between two.
std::vector<Cue> subtitle_cues(std::span<const Speech> speech);

/// SubRip, or WebVTT with the characters escaped that mean something there. An arrow "-->" in the text, which
/// either format takes for its own, becomes one character.
std::string subtitle_text(std::span<const Cue> cues, SubtitleFormat format);

}  // namespace reelfolio::stages
