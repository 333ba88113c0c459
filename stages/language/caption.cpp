#include "stages/language/caption.h"

#include <cassert>

#include "stages/language/generation_params.h"

namespace reelfolio::stages {

namespace {

constexpr PromptDefaults kCaptionDefaults = {
    .prompt = "Describe what is shown in one or two sentences.",
    .prompt_help = "template of the prompt, which follows the pictures",
    .max_tokens = 64,
};

class Caption final : public LanguageStage {
 public:
  Caption(const Params& params, const StageContext& context)
      : generation_(params, context, kCaptionDefaults),
        prompt_(PromptTemplate::compile(
            generation_.prompt_text(), {.param = generation_.prompt_param(), .receives = context.receives})) {
  }

  std::vector<engine::Request> requests(const Item& item) const override {
    if (Generation::is_mute(item)) return {};
    return generation_.requests(item, prompt_.render(item), "", prompt_.uses("text"));
  }

  Json result(const Item& item, std::span<const engine::Answer> answers) const override {
    if (Generation::is_mute(item)) return Generation::mute_answer();
    assert(answers.size() == 1);
    return generation_.answer_json(answers);
  }

  std::string fingerprint() const override { return generation_.fingerprint(); }

 private:
  Generation generation_;
  PromptTemplate prompt_;
};

}  // namespace

StageType caption_type() {
  StageType type;
  type.name = "caption";
  type.help = "Describes what is seen and heard in a unit.";
  type.accepts = {ItemType::frames, ItemType::heard_frames, ItemType::page, ItemType::image, ItemType::clip};
  type.params = generation_params(kCaptionDefaults);
  type.params.push_back(mode_param());
  type.make_language = [](const Params& params,
                          const StageContext& context) -> std::unique_ptr<LanguageStage> {
    return std::make_unique<Caption>(params, context);
  };
  return type;
}

}  // namespace reelfolio::stages
