#include "stages/language/ask.h"

#include <algorithm>
#include <array>
#include <cassert>

#include "stages/language/answer_type.h"
#include "stages/language/generation_params.h"
#include "stages/nearest_name.h"

namespace reelfolio::stages {

namespace {

constexpr PromptDefaults kAskDefaults = {
    .prompt = "{question}\n{form}",
    .prompt_help =
        "template of the prompt, which follows the pictures; {question} is the question, {form} a "
        "sentence about what the answer may be",
    .max_tokens = 64,
    .reads_documents = true,
    .takes_votes = true,
};
constexpr std::array<std::string_view, 2> kNames = {"question", "form"};

class Ask final : public LanguageStage {
 public:
  Ask(const Params& params, const StageContext& context)
      : generation_(params, context, kAskDefaults),
        prompt_(PromptTemplate::compile(
            generation_.prompt_text(),
            {.param = generation_.prompt_param(), .receives = context.receives, .extra = kNames})),
        shows_text_(prompt_.uses("text") || prompt_.uses("page.text")),
        single_(params.has("question")) {
    if (!prompt_.uses("question")) {
      throw ParamError(generation_.prompt_param(), "the template does not contain {question}");
    }
    if (single_ == params.has("questions")) {
      throw ParamError(single_ ? "question" : "questions",
                       single_ ? "question and questions are both given; keep one of them"
                               : "is missing: a map of names to questions (or question: for a single one)");
    }
    if (single_) {
      add_question("", params.text("question"), "question", context);
    } else {
      for (const auto& [name, text] : params.text_map("questions")) {
        add_question(name, text, "questions", context);
      }
    }
    if (questions_.empty()) throw ParamError("questions", "is empty, expected at least one question");
    set_types(params);
    if (!params.text_list("stop").empty() && std::ranges::any_of(questions_, [](const Question& each) {
          return each.type.constraint() != nullptr;
        })) {
      throw ParamError("stop",
                       "does not go together with choices or a type, which say where the answer ends");
    }
  }

  std::vector<engine::Request> requests(const Item& item) const override {
    std::vector<engine::Request> requests;
    if (Generation::is_mute(item)) return requests;
    for (const Question& question : questions_) {
      const std::string text = question.text.render(item);
      const std::string prompt = prompt_.render(item, {{kNames[0], text}, {kNames[1], question.type.form()}});
      const bool shows_text = shows_text_ || question.text.uses("text") || question.text.uses("page.text");
      for (engine::Request& request : generation_.requests(item, prompt, question.name, shows_text)) {
        request.constraint = question.type.constraint();
        requests.push_back(std::move(request));
      }
    }
    return requests;
  }

  Json result(const Item& item, std::span<const engine::Answer> answers) const override {
    const auto samples = static_cast<std::size_t>(generation_.samples());
    const bool mute = Generation::is_mute(item);
    assert(answers.size() == (mute ? 0 : questions_.size() * samples));
    const auto answer_to = [&](std::size_t i) {
      if (mute) return Generation::mute_answer();
      return answer_json(questions_[i], answers.subspan(i * samples, samples));
    };
    if (single_) return answer_to(0);
    Json json = Json::object();
    for (std::size_t i = 0; i < questions_.size(); ++i) json[questions_[i].name] = answer_to(i);
    return json;
  }

  std::string fingerprint() const override { return generation_.fingerprint(); }

 private:
  struct Question {
    std::string name;
    PromptTemplate text;
    AnswerType type{};
  };

  Json answer_json(const Question& question, std::span<const engine::Answer> samples) const {
    Json json = generation_.answer_json(samples);
    const Json value = question.type.value(json["text"].get_ref<const std::string&>());
    if (value.is_null()) return json;
    // Behind the text that it is read from.
    Json with_value = Json::object();
    for (const auto& [key, each] : json.items()) {
      with_value[key] = each;
      if (key == "text") with_value["value"] = value;
    }
    return with_value;
  }

  void set_types(const Params& params) {
    const std::vector<std::string>& choices = params.text_list("choices");
    if (!choices.empty() && params.text("type") != "text") {
      throw ParamError("type", "choices and type are both given; keep one of them");
    }
    const AnswerType common = choices.empty() ? AnswerType::parse(params.text("type"), "type")
                                              : AnswerType::choices(choices, "choices");
    for (Question& question : questions_) question.type = common;
    if (!params.has("types")) return;
    for (const auto& [name, written] : params.text_map("types")) {
      const auto question = std::ranges::find(questions_, name, &Question::name);
      if (question == questions_.end() || single_) {
        std::vector<std::string_view> names;
        for (const Question& each : questions_) names.push_back(each.name);
        throw ParamError("types", "there is no question '" + name + "'" + did_you_mean(name, names));
      }
      question->type = AnswerType::parse(written, "types");
    }
  }

  void add_question(const std::string& name, const std::string& text, const std::string& param,
                    const StageContext& context) {
    const std::string subject = name.empty() ? "" : "'" + name + "' ";
    if (param == "questions" && name.empty()) throw ParamError(param, "a question has an empty name");
    if (text.find_first_not_of(" \t\r\n") == std::string::npos) throw ParamError(param, subject + "is empty");
    if (std::ranges::find(questions_, name, &Question::name) != questions_.end()) {
      throw ParamError(param, subject + "is asked twice");
    }
    questions_.push_back(
        {name, PromptTemplate::compile(text, {.param = param, .receives = context.receives}), {}});
  }

  Generation generation_;
  PromptTemplate prompt_;
  bool shows_text_;
  bool single_;
  std::vector<Question> questions_;
};

}  // namespace

StageType ask_type() {
  StageType type;
  type.name = "ask";
  type.help = "Answers questions about what is seen, heard or read in a unit.";
  type.accepts = {ItemType::frames, ItemType::heard_frames, ItemType::page,
                  ItemType::image,  ItemType::clip,         ItemType::text};
  type.params = generation_params(kAskDefaults);
  type.params.push_back(mode_param());
  type.params.insert(type.params.begin(),
                     {{.name = "questions",
                       .type = ParamType::text_map,
                       .help = "names and questions; each name becomes a key of the result"},
                      {.name = "question",
                       .type = ParamType::text,
                       .help = "a single question, instead of questions; its answer is the result"},
                      {.name = "choices",
                       .type = ParamType::text_list,
                       .help = "the answer is one of these texts",
                       .default_value = std::vector<std::string>{}},
                      {.name = "type",
                       .type = ParamType::choice,
                       .help = "what the answer is; a number or boolean is also given as \"value\"",
                       .default_value = std::string("text"),
                       .choices = {"text", "integer", "number", "boolean"}},
                      {.name = "types",
                       .type = ParamType::text_map,
                       .help = "questions and types of their own: one of the above, or choices such as "
                               "\"indoors | outdoors\""}});
  type.make_language = [](const Params& params,
                          const StageContext& context) -> std::unique_ptr<LanguageStage> {
    return std::make_unique<Ask>(params, context);
  };
  return type;
}

}  // namespace reelfolio::stages
