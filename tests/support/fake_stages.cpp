#include "tests/support/fake_stages.h"

#include <algorithm>
#include <chrono>
#include <sstream>
#include <thread>

#include "pipeline/graph_parser.h"

namespace reelfolio::test {

namespace {

using stages::Item;
using stages::ItemError;
using stages::ItemType;
using stages::ParamSpec;
using stages::ParamType;
using stages::StageContext;
using stages::StageType;

std::atomic<int> max_delay_ms{0};
std::atomic<unsigned> delay_state{1};

void maybe_sleep() {
  const int limit = max_delay_ms.load();
  if (limit == 0) return;
  const unsigned drawn = delay_state.fetch_add(0x9E3779B9U) >> 16U;
  if (drawn % 3 != 0) return;
  std::this_thread::sleep_for(std::chrono::microseconds(drawn % (static_cast<unsigned>(limit) * 1000U)));
}

std::vector<std::string> words_of(const std::filesystem::path& path) {
  std::vector<std::string> words;
  std::istringstream stream(path.string());
  for (std::string word; std::getline(stream, word, ':');) words.push_back(word);
  if (words.empty()) words.emplace_back();
  return words;
}

bool has_word(const stages::InputFile& input, const std::string& word) {
  const auto words = words_of(input.path);
  return std::find(words.begin(), words.end(), word) != words.end();
}

int count_of(const stages::InputFile& input) {
  const auto words = words_of(input.path);
  return words.size() > 1 ? std::stoi(words[1]) : 1;
}

stages::Picture make_picture(const stages::InputFile& input, int soft_tokens) {
  auto image = std::make_shared<engine::RgbImage>();
  image->width = 10;
  image->height = has_word(input, "big") ? 33333 : 10;
  image->pixels.resize(static_cast<std::size_t>(image->width) * image->height * 3);
  return {std::move(image), soft_tokens, std::nullopt};
}

/// Cuts an input into units: split_scenes, render_pages and read_images.
class Cutter : public stages::Transform {
 public:
  Cutter(std::string name, stages::UnitKind kind, int soft_tokens)
      : name_(std::move(name)), kind_(kind), soft_tokens_(soft_tokens) {}

  std::unique_ptr<Worker> make_worker() const override { return std::make_unique<CutterWorker>(*this); }

 private:
  class CutterWorker : public Worker {
   public:
    explicit CutterWorker(const Cutter& stage) : stage_(stage) {}
    void process(const Item& item, stages::Emitter& out) override {
      for (int i = 0; i < count_of(*item.input); ++i) {
        maybe_sleep();
        auto unit = std::make_shared<stages::Unit>();
        unit->producer = stage_.name_;
        unit->kind = stage_.kind_;
        unit->index = i;
        unit->number = i + 1;
        unit->start_s = i;
        unit->end_s = i + 1;
        if (has_word(*item.input, "breaks" + std::to_string(i)))
          throw std::runtime_error("the decoder broke down");
        while (has_word(*item.input, "scans" + std::to_string(i))) {
          if (out.stopped()) throw stages::Cancelled{};
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        if (has_word(*item.input, "bad" + std::to_string(i))) {
          out.error(ItemError("fake.bad", "unit " + std::to_string(i) + " is bad"), unit);
          continue;
        }
        Item made{item.input, unit, {}};
        if (stage_.kind_ != stages::UnitKind::scene)
          made.pictures = {make_picture(*item.input, stage_.soft_tokens_)};
        out.emit(std::move(made));
      }
      if (has_word(*item.input, "truncated")) throw ItemError("fake.truncated", "the end is missing");
    }

   private:
    const Cutter& stage_;
  };

  std::string name_;
  stages::UnitKind kind_;
  int soft_tokens_;
};

class SampleFrames : public stages::Transform {
 public:
  explicit SampleFrames(const stages::Params& params) : per_scene_(params.integer("per_scene")) {}
  std::unique_ptr<Worker> make_worker() const override { return std::make_unique<SampleWorker>(*this); }

 private:
  class SampleWorker : public Worker {
   public:
    explicit SampleWorker(const SampleFrames& stage) : stage_(stage) {}
    void process(const Item& item, stages::Emitter& out) override {
      maybe_sleep();
      if (has_word(*item.input, "blind" + std::to_string(item.unit->index))) {
        throw ItemError("fake.blind", "no frame can be seen");
      }
      Item made = item;
      for (std::int64_t k = 0; k < stage_.per_scene_; ++k) {
        made.pictures.push_back(make_picture(*item.input, 70));
        made.pictures.back().time_s =
            item.unit->start_s + (static_cast<double>(k) + 0.5) / static_cast<double>(stage_.per_scene_);
      }
      out.emit(std::move(made));
    }

   private:
    const SampleFrames& stage_;
  };
  std::int64_t per_scene_;
};

/// caption, ask, extract and transcribe: one request for each of `prompts`.
class Talker : public stages::LanguageStage {
 public:
  explicit Talker(std::vector<std::string> prompts) : prompts_(std::move(prompts)) {}

  std::vector<engine::Request> requests(const Item& item) const override {
    std::vector<engine::Request> requests;
    for (const std::string& prompt : prompts_) {
      if (prompt == "unanswerable") throw ItemError("fake.unanswerable", "nothing to ask");
      engine::Message message;
      for (const stages::Picture& picture : item.pictures) {
        message.parts.emplace_back(engine::ImagePart{picture.image, picture.soft_tokens});
      }
      message.parts.emplace_back(
          engine::TextPart{prompt + " " + item.input->name + " " + std::to_string(item.unit->index)});
      engine::Request request;
      request.messages.push_back(std::move(message));
      requests.push_back(std::move(request));
    }
    return requests;
  }

  stages::Json result(const Item& /*item*/, std::span<const engine::Answer> answers) const override {
    stages::Json texts = stages::Json::array();
    for (const engine::Answer& answer : answers) texts.push_back(answer.text);
    return texts;
  }

 private:
  std::vector<std::string> prompts_;
};

ParamSpec param(std::string name, ParamType type, stages::ParamValue default_value = {}) {
  ParamSpec spec;
  spec.name = std::move(name);
  spec.type = type;
  spec.default_value = std::move(default_value);
  return spec;
}

ParamSpec soft_tokens(std::int64_t value) {
  ParamSpec spec = param("soft_tokens", ParamType::integer, value);
  spec.min = 70;
  spec.max = 1120;
  return spec;
}

template <stages::UnitKind kKind>
std::unique_ptr<stages::Transform> make_cutter(const stages::Params& params, const StageContext& context) {
  if (kKind == stages::UnitKind::page && params.has("pages") && params.text("pages") == "backwards") {
    throw stages::ParamError("pages", "'pages' is 'backwards', expected ranges such as 1-20");
  }
  return std::make_unique<Cutter>(context.stage_name, kKind, 280);
}

StageType row(std::string_view name, std::vector<ItemType> accepts, std::vector<ItemType> produces,
              std::vector<ParamSpec> params) {
  StageType type;
  type.name = name;
  type.help = "a fake";
  type.accepts = std::move(accepts);
  type.produces = std::move(produces);
  type.params = std::move(params);
  return type;
}

StageType ask_row() {
  ParamSpec questions = param("questions", ParamType::text_map);
  questions.required = true;
  StageType type = row("ask", {ItemType::frames, ItemType::page, ItemType::image}, {}, {questions});
  type.make_language = [](const stages::Params& params,
                          const StageContext&) -> std::unique_ptr<stages::LanguageStage> {
    std::vector<std::string> prompts;
    for (const auto& [name, question] : params.text_map("questions")) prompts.push_back(question);
    return std::make_unique<Talker>(prompts);
  };
  return type;
}

StageType caption_row() {
  ParamSpec max_tokens = param("max_tokens", ParamType::integer, std::int64_t{64});
  max_tokens.min = 1;
  ParamSpec top_p = param("top_p", ParamType::number, 1.0);
  top_p.max = 1;
  StageType type = row(
      "caption", {ItemType::frames, ItemType::page, ItemType::image}, {},
      {param("prompt", ParamType::text, std::string("Describe it.")), param("prompt_file", ParamType::path),
       max_tokens, param("temperature", ParamType::number, std::int64_t{0}), top_p,
       param("thinking", ParamType::boolean, false)});
  type.make_language = [](const stages::Params& params,
                          const StageContext&) -> std::unique_ptr<stages::LanguageStage> {
    return std::make_unique<Talker>(std::vector<std::string>{params.text("prompt")});
  };
  return type;
}

StageType extract_row() {
  ParamSpec schema = param("schema", ParamType::path);
  schema.required = true;
  StageType type = row("extract", {ItemType::page, ItemType::image}, {}, {schema});
  type.make_language = [](const stages::Params&,
                          const StageContext&) -> std::unique_ptr<stages::LanguageStage> {
    return std::make_unique<Talker>(std::vector<std::string>{"extract"});
  };
  return type;
}

StageType split_scenes_row() {
  ParamSpec detector = param("detector", ParamType::choice, std::string("adaptive"));
  detector.choices = {"adaptive", "content", "hash", "histogram", "threshold"};
  ParamSpec min_scene = param("min_scene", ParamType::duration, 0.6);
  min_scene.min = 0;
  min_scene.max = 3600;
  StageType type = row("split_scenes", {ItemType::video}, {ItemType::scene}, {detector, min_scene});
  type.make_transform = make_cutter<stages::UnitKind::scene>;
  return type;
}

StageType render_pages_row() {
  StageType type =
      row("render_pages", {ItemType::pdf}, {ItemType::page},
          {param("dpi", ParamType::integer, std::int64_t{150}), param("pages", ParamType::text),
           param("exclude", ParamType::text_list, std::vector<std::string>{}), soft_tokens(1120)});
  type.make_transform = make_cutter<stages::UnitKind::page>;
  return type;
}

StageType read_images_row() {
  StageType type = row("read_images", {ItemType::image_file}, {ItemType::image}, {soft_tokens(280)});
  type.make_transform = make_cutter<stages::UnitKind::image>;
  return type;
}

StageType sample_frames_row() {
  ParamSpec per_scene = param("per_scene", ParamType::integer, std::int64_t{1});
  per_scene.min = 1;
  per_scene.max = 64;
  StageType type = row("sample_frames", {ItemType::scene}, {ItemType::frames}, {per_scene, soft_tokens(70)});
  type.make_transform = [](const stages::Params& params,
                           const StageContext&) -> std::unique_ptr<stages::Transform> {
    return std::make_unique<SampleFrames>(params);
  };
  return type;
}

StageType transcribe_row() {
  StageType type = row("transcribe", {ItemType::scene, ItemType::clip}, {}, {});
  type.make_language = [](const stages::Params&,
                          const StageContext&) -> std::unique_ptr<stages::LanguageStage> {
    return std::make_unique<Talker>(std::vector<std::string>{"transcribe"});
  };
  return type;
}

stages::Json to_json(const stages::InputResult& result) {
  stages::Json json;
  json["input"] = result.input->name;
  json["status"] = static_cast<int>(result.status);
  json["units"] = stages::Json::array();
  for (const stages::UnitResult& unit : result.units) {
    stages::Json results;
    for (const auto& [stage, value] : unit.results) results[stage] = value;
    json["units"].push_back({unit.unit->producer, unit.unit->index, unit.frame_times_s, results});
  }
  json["errors"] = stages::Json::array();
  for (const stages::ErrorRecord& error : result.errors) {
    json["errors"].push_back({error.stage, error.unit ? error.unit->index : -1, error.code, error.message});
  }
  return json;
}

}  // namespace

std::span<const StageType> fake_stage_types() {
  static const std::vector<StageType> types = {ask_row(),          caption_row(),      extract_row(),
                                               read_images_row(),  render_pages_row(), sample_frames_row(),
                                               split_scenes_row(), transcribe_row()};
  return types;
}

pipeline::Graph graph_of(std::string_view yaml, const std::vector<std::string>& settings) {
  pipeline::GraphSpec spec = pipeline::parse_graph(yaml, "g.yaml");
  for (const std::string& setting : settings) pipeline::apply_setting(spec, setting);
  return pipeline::build_graph(spec, {}, fake_stage_types());
}

stages::InputFile fake_probe(const std::filesystem::path& path, const std::string& name) {
  maybe_sleep();
  const std::string kind = words_of(path)[0];
  stages::InputFile input;
  input.name = name;
  input.path = path;
  input.sha256 = "hash of " + path.string();
  if (kind == "gone") throw ItemError("input.unreadable", "it has vanished");
  if (kind == "video") input.media = stages::MediaKind::video;
  if (kind == "pdf") input.media = stages::MediaKind::pdf;
  if (kind == "image") input.media = stages::MediaKind::image;
  if (kind == "text") input.media = stages::MediaKind::text;
  return input;
}

RandomDelays::RandomDelays(int max_ms) {
  max_delay_ms = max_ms;
}
RandomDelays::~RandomDelays() {
  max_delay_ms = 0;
}

std::vector<engine::Answer> FakeEngine::answer(std::span<const engine::Request> requests,
                                               std::stop_token /*stop*/,
                                               const std::function<void(std::size_t, std::string_view)>&) {
  std::vector<engine::Answer> answers;
  for (const engine::Request& request : requests) {
    engine::Answer answer;
    for (const engine::Part& part : request.messages[0].parts) {
      if (const auto* text = std::get_if<engine::TextPart>(&part)) answer.text += text->text;
      if (std::holds_alternative<engine::ImagePart>(part)) answer.text += "+";
    }
    const bool odd = (answer.text.back() - '0') % 2 == 1;
    if (odd && answer.text.find("refuse") != std::string::npos)
      throw engine::RequestError("the prompt is refused");
    answer.prompt_tokens = 10;
    answer.generated_tokens = 2;
    answer.compute_s = seconds_a_request;
    tokens_ += 2;
    answers.push_back(std::move(answer));
  }
  return answers;
}

void FakeEngine::serve(engine::RequestSource& source, const engine::ServeOptions& options,
                       std::stop_token stop) {
  struct Open {
    std::uint64_t group = 0;
    std::size_t set = 0;
    std::vector<engine::Answer> answers;
  };
  std::vector<Open> open;
  std::size_t requests = 0;
  unsigned drawn = 1;
  const auto dealt_with = [this] {
    ++sets;
    if (on_set) on_set(sets);
    if (fail_at_set == sets) throw std::runtime_error("the engine broke down");
  };
  while (!stop.stop_requested()) {
    while (requests < static_cast<std::size_t>(options.max_sequences)) {
      const auto group = source.next(requests == 0);
      if (!group && requests == 0) return;
      if (!group) break;
      group_sizes.push_back(group->sets.size());
      for (std::size_t set = 0; set < group->sets.size(); ++set) {
        try {
          open.push_back({group->id, set, answer(group->sets[set])});
          requests += open.back().answers.size();
        } catch (const engine::RequestError& error) {
          dealt_with();
          source.refused(group->id, set, 0, error);
        }
      }
    }
    most_open = std::max(most_open, requests);
    maybe_sleep();
    if (open.empty()) continue;
    drawn = drawn * 1664525U + 1013904223U;
    const auto chosen = open.begin() + static_cast<std::ptrdiff_t>((drawn >> 16U) % open.size());
    const Open done = *chosen;
    open.erase(chosen);
    requests -= done.answers.size();
    dealt_with();
    source.answered(done.group, done.set, done.answers);
  }
}

engine::EngineStats FakeEngine::stats() const {
  engine::EngineStats stats;
  stats.decode_tokens = tokens_;
  stats.decode_s = 1;
  return stats;
}

void RecordingSink::write(const stages::InputResult& result) {
  text += to_json(result).dump() + "\n";
  results.push_back(result);
  if (on_write) on_write(results.size());
}

template <class F>
void CountingProgress::alone(F&& f) {
  if (inside_.fetch_add(1) != 0) overlapped = true;
  f();
  inside_.fetch_sub(1);
}
void CountingProgress::run_started(std::span<const std::uint64_t> sizes) {
  alone([&] { announced = sizes.size(); });
}
void CountingProgress::input_started(std::size_t /*input*/, const std::string& /*name*/) {
  alone([&] { ++started; });
}
void CountingProgress::input_advanced(std::size_t /*input*/, double /*part*/) {
  alone([] {});
}
void CountingProgress::unit_found(std::size_t /*input*/) {
  alone([&] { ++found; });
}
void CountingProgress::unit_done(std::size_t /*input*/, const engine::EngineStats& /*stats*/) {
  alone([&] { ++done; });
}
void CountingProgress::input_done(std::size_t /*input*/, const stages::InputResult& /*result*/) {
  alone([&] { ++inputs; });
}
void CountingProgress::tick(const engine::EngineStats& /*stats*/) {
  alone([&] {
    ++ticks;
    if (on_tick) on_tick();
  });
}
void CountingProgress::run_finished() {
  alone([&] { ++finishes; });
}

}  // namespace reelfolio::test
