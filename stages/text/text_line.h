#pragma once

#include <optional>
#include <string>
#include <vector>

namespace reelfolio::stages {

/// A line of a document as the model reads it. Empty lines part paragraphs.
struct TextLine {
  std::string text;   ///< UTF-8 without line ends
  int line = 0;       ///< where it stands in the file, from 1
  int heading = 0;    ///< 1 to 6: level of a heading; 0: none
  bool code = false;  ///< inside a fenced block, whose empty lines part nothing
  /// Of subtitles: seconds.
  std::optional<double> start_s{};
  std::optional<double> end_s{};
};

using TextLines = std::vector<TextLine>;

}  // namespace reelfolio::stages
