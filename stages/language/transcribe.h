#pragma once

#include "stages/stage.h"

namespace reelfolio::stages {

/// `transcribe`: what is said in the sound of a unit, each clip in a prompt of its own.
///
/// Result: {"text", "language", "no_speech", "clips": [{"start_s", "end_s", "text", "language", "no_speech",
/// "finish_reason"}, ...], "finish_reason"}. Times are the input's; of each clip they enclose what is not
/// silent. `text` of the whole joins that of the clips in which somebody speaks. `language` is the one named
/// by the parameter, or what the model says it is, in English ("German"); of the whole, the language of most
/// of the text; null where nobody speaks. `no_audio`: true is added where the input has no sound track.
///
/// A clip has no speech where nothing in it is as loud as `silence_db` (the model is not asked then),
/// where the model names no language, or where its transcript is empty. The `text` stays what the
/// model wrote.
///
/// The default prompt is the one that the model's card suggests for speech recognition; {in_language}
/// stands for "in German into German text", or "in its original language" without `language`.
StageType transcribe_type();

}  // namespace reelfolio::stages
