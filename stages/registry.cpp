#include <algorithm>

#include "stages/audio/split_audio.h"
#include "stages/image/read_images.h"
#include "stages/language/ask.h"
#include "stages/language/caption.h"
#include "stages/language/extract.h"
#include "stages/language/transcribe.h"
#include "stages/pdf/render_pages.h"
#include "stages/stage.h"
#include "stages/text/read_text.h"
#include "stages/video/sample_frames.h"
#include "stages/video/split_scenes.h"

namespace reelfolio::stages {

std::span<const StageType> stage_types() {
  static const std::vector<StageType> types = [] {
    std::vector<StageType> rows;
    rows.push_back(ask_type());
    rows.push_back(caption_type());
    rows.push_back(extract_type());
    rows.push_back(read_images_type());
    rows.push_back(read_text_type());
    rows.push_back(render_pages_type());
    rows.push_back(sample_frames_type());
    rows.push_back(split_audio_type());
    rows.push_back(split_scenes_type());
    rows.push_back(transcribe_type());
    return rows;
  }();
  return types;
}

const StageType* find_stage_type(std::string_view name) {
  const auto types = stage_types();
  const auto found = std::ranges::find(types, name, &StageType::name);
  return found == types.end() ? nullptr : &*found;
}

}  // namespace reelfolio::stages
