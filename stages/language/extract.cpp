#include "stages/language/extract.h"

#include <array>
#include <cassert>
#include <cmath>
#include <memory>
#include <optional>
#include <utility>

#include "engine/constraint/constraint.h"
#include "stages/language/confidence.h"
#include "stages/language/generation_params.h"
#include "stages/language/grounding.h"
#include "stages/language/json_answer.h"
#include "stages/language/json_schema.h"
#include "stages/language/merge_values.h"

namespace reelfolio::stages {

namespace {

constexpr PromptDefaults kExtractDefaults = {
    .prompt =
        "Read the document and fill in this form. Answer with one JSON object and nothing else: the keys "
        "in this order, text as it is written in the document, null where a field allows it and the "
        "document does not tell.\n{schema}",
    .prompt_help =
        "template of the prompt, which follows the pictures; {schema} is the form made of the schema",
    .max_tokens = 1024,
    .reads_documents = true,
    .takes_stop = false,
    .takes_votes = true,
};
constexpr std::array<std::string_view, 1> kSchemaName = {"schema"};

std::filesystem::path schema_path(const Params& params, const StageContext& context) {
  const std::filesystem::path written = params.text("schema");
  return written.is_absolute() ? written : context.graph_folder / written;
}

/// What the engine holds answers to. Throws ParamError for a schema that it cannot hold them to.
std::shared_ptr<const engine::Constraint> compile(const JsonSchema& schema, const std::string& file,
                                                  std::size_t max_string_chars) {
  engine::ConstraintOptions options;
  options.require_object = true;
  options.closed_objects = true;
  options.max_string_chars = max_string_chars;
  try {
    return engine::Constraint::json_schema(schema.document().dump(), options);
  } catch (const engine::ConstraintError& error) {
    throw ParamError("schema",
                     file + error.what() + " (constrain: false checks answers without holding to it)");
  }
}

class Extract final : public LanguageStage {
 public:
  Extract(const Params& params, const StageContext& context)
      : generation_(params, context, kExtractDefaults),
        prompt_(PromptTemplate::compile(
            generation_.prompt_text(),
            {.param = generation_.prompt_param(), .receives = context.receives, .extra = kSchemaName})),
        shows_text_(prompt_.uses("text") || prompt_.uses("page.text")),
        schema_(JsonSchema::load(schema_path(params, context), "schema")),
        sketch_(schema_.sketch()),
        grounding_(params.boolean("grounding")) {
    if (params.boolean("constrain")) {
      constraint_ = compile(schema_, schema_path(params, context).string(),
                            static_cast<std::size_t>(params.integer("max_string")));
    }
    if (generation_.samples() > 1) {
      if (generation_.confidence()) {
        throw ParamError("confidence", "does not go together with samples, whose agreement says the same");
      }
      vote_.emplace(schema_, MergeRule::vote, TextMap{}, "samples");
    }
    const bool has_fields = params.has("merge_fields") && !params.text_map("merge_fields").empty();
    if (params.text("merge") != "none") {
      merge_.emplace(schema_, *merge_rule(params.text("merge")),
                     has_fields ? params.text_map("merge_fields") : TextMap{}, "merge_fields");
    } else if (has_fields) {
      throw ParamError("merge_fields", "needs merge, the rule for the other fields");
    }
  }

  std::vector<engine::Request> requests(const Item& item) const override {
    auto requests =
        generation_.requests(item, prompt_.render(item, {{kSchemaName[0], sketch_}}), "", shows_text_);
    for (engine::Request& request : requests) request.constraint = constraint_;
    return requests;
  }

  Json result(const Item& item, std::span<const engine::Answer> answers) const override {
    assert(answers.size() == static_cast<std::size_t>(generation_.samples()));
    Json json = answers.size() > 1 ? voted(answers) : single(answers[0]);
    if (grounding_ && json["value"].is_object() && item.unit) {
      Json grounding = grounding_of(json["value"], *item.unit);
      if (!grounding.is_null()) json["grounding"] = std::move(grounding);
    }
    const engine::Answer& answer = answers[0];
    generation_.add_thinking(json, answer);
    json["finish_reason"] = engine::finish_reason_name(answer.finish_reason);
    return json;
  }

  Json merged(std::span<const UnitValue> values) const override {
    if (!merge_) return nullptr;
    std::vector<ValueMerge::Source> sources;
    for (const UnitValue& each : values) {
      const Unit& unit = *each.unit;
      const bool numbered = unit.kind == UnitKind::page || unit.kind == UnitKind::image;
      if (each.value->value("valid", false)) {
        sources.push_back({numbered ? unit.number : unit.index, &each.value->at("value")});
      }
    }
    Json json = Json::object();
    if (sources.empty()) {
      json["value"] = nullptr;
      json["valid"] = false;
      json["errors"] = Json::array({"no part of the input gave a valid value"});
      return json;
    }
    ValueMerge::Result result = merge_->merge(sources);
    add_value(json, result.value);
    json["evidence"] = std::move(result.evidence);
    json["conflicts"] = std::move(result.conflicts);
    return json;
  }

  std::string fingerprint() const override { return generation_.fingerprint(); }

 private:
  /// "value" in the schema's order, "valid" and, where it is not, "errors".
  void add_value(Json& json, const Json& value) const {
    json["value"] = schema_.ordered(value);
    const std::vector<std::string> errors = schema_.errors(value);
    json["valid"] = errors.empty();
    if (!errors.empty()) json["errors"] = errors;
  }

  void add_no_value(Json& json, const std::string& error, const std::string& text) const {
    json["value"] = nullptr;
    json["valid"] = false;
    json["errors"] = Json::array({error});
    json["text"] = text;
  }

  Json single(const engine::Answer& answer) const {
    Json json = Json::object();
    std::string_view where;
    if (const std::optional<Json> value = json_object_in(answer.text, &where)) {
      add_value(json, *value);
      if (generation_.confidence()) json["confidence"] = confidence_of_fields(answer, where);
    } else {
      add_no_value(json, "the answer holds no complete JSON object", answer.text);
    }
    return json;
  }

  /// Field by field what most of the samples say, with the share of them that do.
  Json voted(std::span<const engine::Answer> answers) const {
    std::vector<Json> values;
    for (const engine::Answer& answer : answers) {
      std::optional<Json> value = json_object_in(answer.text);
      if (value && schema_.errors(*value).empty()) values.push_back(std::move(*value));
    }
    Json json = Json::object();
    if (values.empty()) {
      add_no_value(json, "no sample holds a valid JSON object", answers[0].text);
      return json;
    }
    std::vector<ValueMerge::Source> sources;
    for (std::size_t i = 0; i < values.size(); ++i) sources.push_back({static_cast<int>(i), &values[i]});
    const ValueMerge::Result result = vote_->merge(sources);
    add_value(json, result.value);
    Json agreement = Json::object();
    for (const auto& [path, numbers] : result.evidence.items()) {
      const double share = static_cast<double>(numbers.size()) / static_cast<double>(answers.size());
      agreement[path] = std::round(share * 10000) / 10000;
    }
    json["agreement"] = std::move(agreement);
    return json;
  }

  Generation generation_;
  PromptTemplate prompt_;
  bool shows_text_;
  JsonSchema schema_;
  std::string sketch_;
  bool grounding_;
  std::shared_ptr<const engine::Constraint> constraint_;
  std::optional<ValueMerge> merge_;
  std::optional<ValueMerge> vote_;
};

}  // namespace

StageType extract_type() {
  StageType type;
  type.name = "extract";
  type.help = "Fills in the fields of a JSON Schema from the pictures or the text of a unit.";
  type.accepts = {ItemType::frames, ItemType::page, ItemType::image, ItemType::text};
  type.params = generation_params(kExtractDefaults);
  type.params.insert(
      type.params.begin(),
      {{.name = "schema",
        .type = ParamType::path,
        .help = "JSON Schema file of the object to fill in",
        .required = true},
       {.name = "constrain",
        .type = ParamType::boolean,
        .help = "hold the model to the schema while it answers, so that no answer is invalid",
        .default_value = true},
       {.name = "max_string",
        .type = ParamType::integer,
        .help = "longest text in the value, in characters, where the schema allows more",
        .default_value = std::int64_t{2000},
        .min = 1,
        .max = 100'000},
       {.name = "grounding",
        .type = ParamType::boolean,
        .help = "look the texts of the value up in the page's own text, if it has one",
        .default_value = true},
       {.name = "merge",
        .type = ParamType::choice,
        .help = "one value for all pages of an input too, on its closing line: of each field the first, the "
                "longest or the most frequent value, or all lists joined",
        .default_value = std::string("none"),
        .choices = {"none", "first", "longest", "list", "vote"}},
       {.name = "merge_fields",
        .type = ParamType::text_map,
        .help = "fields with a rule of their own, such as {lines: list, \"seller/name\": vote}"}});
  type.make_language = [](const Params& params,
                          const StageContext& context) -> std::unique_ptr<LanguageStage> {
    return std::make_unique<Extract>(params, context);
  };
  return type;
}

}  // namespace reelfolio::stages
