#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "stages/params.h"
#include "stages/video/libav.h"

namespace reelfolio::stages {

/// Which of several sound tracks is heard.
struct TrackChoice {
  std::optional<int> number;           ///< from 1, among the file's sound tracks in their order
  std::vector<std::string> languages;  ///< tags as "de", "deu", "ger" or "de-AT", the likeliest first
};

/// Whether a track's language tag means the language of `wanted`: the same tag in any case, region
/// and script left out, or the two- and three-letter codes of one language (of the common ones).
bool same_language(std::string_view tag, std::string_view wanted);

/// The rows `track` and `track_language`.
std::vector<ParamSpec> track_params();
/// Their values. Throws ParamError where both are given.
TrackChoice track_choice_of(const Params& params);

/// The track of `format` to be heard; null if the file has no sound. Without a choice: the default
/// track, then one that is neither a commentary nor a description for the blind, then the first.
/// Of several in the wanted language the same order decides; tracks without a language stand in where no
/// track has the wanted one. Throws ItemError "audio.no_track", naming the tracks there are.
AVStream* choose_track(AVFormatContext& format, const TrackChoice& choice);

}  // namespace reelfolio::stages
