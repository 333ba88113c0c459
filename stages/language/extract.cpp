#include "stages/language/extract.h"

#include <array>
#include <cassert>
#include <optional>
#include <utility>

#include "stages/language/generation_params.h"
#include "stages/language/json_answer.h"
#include "stages/language/json_schema.h"

namespace reelfolio::stages {

namespace {

constexpr PromptDefaults kDefaults = {
    .prompt =
        "Read the document and fill in this form. Answer with one JSON object and nothing else: the keys "
        "in this order, text as it is written in the document, null where a field allows it and the "
        "document does not tell.\n{schema}",
    .prompt_help =
        "template of the prompt, which follows the pictures; {schema} is the form made of the schema",
    .max_tokens = 1024,
};
constexpr std::array<std::string_view, 1> kSchemaName = {"schema"};

std::filesystem::path schema_path(const Params& params, const StageContext& context) {
  const std::filesystem::path written = params.text("schema");
  return written.is_absolute() ? written : context.graph_folder / written;
}

class Extract final : public LanguageStage {
 public:
  Extract(const Params& params, const StageContext& context)
      : generation_(params, context, kDefaults),
        prompt_(PromptTemplate::compile(
            generation_.prompt_text(),
            {.param = generation_.prompt_param(), .receives = context.receives, .extra = kSchemaName})),
        schema_(JsonSchema::load(schema_path(params, context), "schema")),
        sketch_(schema_.sketch()) {}

  std::vector<engine::Request> requests(const Item& item) const override {
    return {generation_.request(item, prompt_.render(item, {{kSchemaName[0], sketch_}}), "")};
  }

  Json result(const Item& /*item*/, std::span<const engine::Answer> answers) const override {
    assert(answers.size() == 1);
    const engine::Answer& answer = answers[0];
    const std::optional<Json> value = json_object_in(answer.text);
    Json json = Json::object();
    std::vector<std::string> errors;
    if (value) {
      json["value"] = schema_.ordered(*value);
      errors = schema_.errors(*value);
    } else {
      json["value"] = nullptr;
      errors = {"the answer holds no complete JSON object"};
    }
    json["valid"] = errors.empty();
    if (!errors.empty()) json["errors"] = errors;
    if (!value) json["text"] = answer.text;
    if (generation_.thinking()) json["thinking"] = answer.thinking.value_or("");
    json["finish_reason"] = engine::finish_reason_name(answer.finish_reason);
    return json;
  }

 private:
  Generation generation_;
  PromptTemplate prompt_;
  JsonSchema schema_;
  std::string sketch_;
};

}  // namespace

StageType extract_type() {
  StageType type;
  type.name = "extract";
  type.help = "Fills in the fields of a JSON Schema from the pictures of a unit.";
  type.accepts = {ItemType::frames, ItemType::page, ItemType::image};
  type.params = generation_params(kDefaults);
  type.params.insert(type.params.begin(), {.name = "schema",
                                           .type = ParamType::path,
                                           .help = "JSON Schema file of the object to fill in",
                                           .required = true});
  type.make_language = [](const Params& params,
                          const StageContext& context) -> std::unique_ptr<LanguageStage> {
    return std::make_unique<Extract>(params, context);
  };
  return type;
}

}  // namespace reelfolio::stages
