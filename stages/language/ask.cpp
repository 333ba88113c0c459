#include "stages/language/ask.h"

#include <algorithm>
#include <array>
#include <cassert>

#include "stages/language/generation_params.h"

namespace reelfolio::stages {

namespace {

constexpr PromptDefaults kDefaults = {
    .prompt = "{question}\nAnswer with a word or a short phrase.",
    .prompt_help = "template of the prompt, which follows the pictures; {question} is the question",
    .max_tokens = 64,
};
constexpr std::array<std::string_view, 1> kQuestionName = {"question"};

class Ask final : public LanguageStage {
 public:
  Ask(const Params& params, const StageContext& context)
      : generation_(params, context, kDefaults),
        prompt_(PromptTemplate::compile(
            generation_.prompt_text(),
            {.param = generation_.prompt_param(), .receives = context.receives, .extra = kQuestionName})),
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
  }

  std::vector<engine::Request> requests(const Item& item) const override {
    std::vector<engine::Request> requests;
    for (const Question& question : questions_) {
      const std::string text = question.text.render(item);
      requests.push_back(
          generation_.request(item, prompt_.render(item, {{kQuestionName[0], text}}), question.name));
    }
    return requests;
  }

  Json result(const Item& /*item*/, std::span<const engine::Answer> answers) const override {
    assert(answers.size() == questions_.size());
    if (single_) return generation_.answer_json(answers[0]);
    Json json = Json::object();
    for (std::size_t i = 0; i < questions_.size(); ++i) {
      json[questions_[i].name] = generation_.answer_json(answers[i]);
    }
    return json;
  }

 private:
  struct Question {
    std::string name;
    PromptTemplate text;
  };

  void add_question(const std::string& name, const std::string& text, const std::string& param,
                    const StageContext& context) {
    const std::string subject = name.empty() ? "" : "'" + name + "' ";
    if (param == "questions" && name.empty()) throw ParamError(param, "a question has an empty name");
    if (text.find_first_not_of(" \t\r\n") == std::string::npos) throw ParamError(param, subject + "is empty");
    if (std::ranges::find(questions_, name, &Question::name) != questions_.end()) {
      throw ParamError(param, subject + "is asked twice");
    }
    questions_.push_back(
        {name, PromptTemplate::compile(text, {.param = param, .receives = context.receives})});
  }

  Generation generation_;
  PromptTemplate prompt_;
  bool single_;
  std::vector<Question> questions_;
};

}  // namespace

StageType ask_type() {
  StageType type;
  type.name = "ask";
  type.help = "Answers questions about the pictures of a unit.";
  type.accepts = {ItemType::frames, ItemType::page, ItemType::image};
  type.params = generation_params(kDefaults);
  type.params.insert(type.params.begin(),
                     {{.name = "questions",
                       .type = ParamType::text_map,
                       .help = "names and questions; each name becomes a key of the result"},
                      {.name = "question",
                       .type = ParamType::text,
                       .help = "a single question, instead of questions; its answer is the result"}});
  type.make_language = [](const Params& params,
                          const StageContext& context) -> std::unique_ptr<LanguageStage> {
    return std::make_unique<Ask>(params, context);
  };
  return type;
}

}  // namespace reelfolio::stages
