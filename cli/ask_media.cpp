#include "cli/ask_media.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stages/stage.h"

namespace reelfolio::cli {

namespace {

constexpr const char* kStageName = "ask";
/// As many frames as the model's release takes of a short clip, at the smallest budget.
constexpr std::int64_t kFramesOfVideo = 16;
/// A text goes into the prompt as a whole; one that the model has no room for is refused there.
constexpr std::int64_t kTokensOfPart = 131072;

using Values = std::vector<std::pair<std::string, stages::ParamValue>>;

/// Keeps the items of a stage whose output goes through another one; errors go on.
class Collector final : public stages::Emitter {
 public:
  explicit Collector(stages::Emitter& out) : out_(out) {}
  void emit(stages::Item item) override { items.push_back(std::move(item)); }
  void error(const stages::ItemError& error, std::shared_ptr<const stages::Unit> unit) override {
    out_.error(error, std::move(unit));
  }
  bool stopped() const override { return out_.stopped(); }

  std::vector<stages::Item> items;

 private:
  stages::Emitter& out_;
};

class AskMedia final : public stages::Transform {
 public:
  AskMedia(std::optional<int> soft_tokens, std::filesystem::path password_file)
      : soft_tokens_(soft_tokens), password_file_(std::move(password_file)) {}
  std::unique_ptr<Worker> make_worker() const override { return std::make_unique<MediaWorker>(*this); }

 private:
  class MediaWorker final : public Worker {
   public:
    explicit MediaWorker(const AskMedia& media) : media_(media) {}
    void process(const stages::Item& item, stages::Emitter& out) override { media_.process(item, out); }

   private:
    const AskMedia& media_;
  };

  void process(const stages::Item& item, stages::Emitter& out) const {
    switch (item.input->media) {
      case stages::MediaKind::image:
        apply("read_images", {}, {item}, out);
        return;
      case stages::MediaKind::pdf:
        apply("render_pages", {}, {item}, out);
        return;
      case stages::MediaKind::video:
        show_video(item, out);
        return;
      case stages::MediaKind::audio:
        apply("split_audio", {}, {item}, out);
        return;
      case stages::MediaKind::text:
        apply("read_text", {{"part_tokens", kTokensOfPart}}, {item}, out);
        return;
      case stages::MediaKind::unknown:
        break;
    }
    throw stages::ItemError("input.unsupported",
                            "is " + std::string(stages::media_kind_name(item.input->media)) +
                                ", expected an image, a PDF, a video, a sound or a text");
  }

  void show_video(const stages::Item& item, stages::Emitter& out) const {
    Collector scenes(out);
    apply("split_scenes", {}, {item}, scenes);
    if (scenes.items.empty())
      throw stages::ItemError("language.no_pictures", "there is nothing to show in it");
    // One scene from the start of the first to the end of the last, so that frames are taken evenly
    // over the whole.
    auto whole = std::make_shared<stages::Unit>(*scenes.items.front().unit);
    whole->end_s = scenes.items.back().unit->end_s;
    const stages::Item video{item.input, whole, {}};
    const Values frames = {{"per_scene", kFramesOfVideo}};
    if (whole->end_s - whole->start_s > kHeardVideoS) {
      apply("sample_frames", frames, {video}, out);
      return;
    }
    Collector seen(out);
    apply("sample_frames", frames, {video}, seen);
    apply("split_audio", {{"max_heard", kHeardVideoS}}, seen.items, out);
  }

  void apply(std::string_view type_name, const Values& given, const std::vector<stages::Item>& items,
             stages::Emitter& out) const {
    const stages::StageType& type = *stages::find_stage_type(type_name);
    stages::Params params;
    for (const stages::ParamSpec& spec : type.params) {
      params.set(spec.name, spec.default_value);
      if (spec.name == "soft_tokens" && soft_tokens_) {
        params.set(spec.name, static_cast<std::int64_t>(*soft_tokens_));
      }
    }
    for (const auto& [name, value] : given) params.set(name, value);
    stages::StageContext context;
    context.stage_name = std::string(type_name);
    context.graph_folder = ".";
    context.password_file = password_file_;
    const auto transform = type.make_transform(params, context);
    const auto worker = transform->make_worker();
    for (const stages::Item& item : items) worker->process(item, out);
    worker->end_input();
  }

  std::optional<int> soft_tokens_;
  std::filesystem::path password_file_;
};

}  // namespace

std::unique_ptr<stages::Transform> make_ask_media(std::optional<int> soft_tokens,
                                                  const std::filesystem::path& password_file) {
  return std::make_unique<AskMedia>(soft_tokens, password_file);
}

stages::DecodePlan ask_media_plan(const stages::Transform& media) {
  using stages::ItemType;
  stages::DecodePlan::Stage stage;
  stage.name = kStageName;
  stage.transform = &media;
  stage.from = {stages::DecodePlan::kInputs};
  stage.receives = {ItemType::video, ItemType::pdf, ItemType::image_file, ItemType::sound,
                    ItemType::text_file};
  stages::DecodePlan plan;
  plan.stages.push_back(std::move(stage));
  return plan;
}

}  // namespace reelfolio::cli
