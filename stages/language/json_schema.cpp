#include "stages/language/json_schema.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <fstream>
#include <system_error>
#include <utility>
#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validator.hpp>

#include "stages/error.h"
#include "stages/language/schema_check.h"
#include "stages/language/schema_sketch.h"
#include "stages/system_message.h"

namespace reelfolio::stages {

namespace {

constexpr std::size_t kMaxSchemaBytes = 4U << 20U;
/// libstdc++'s regular expressions recurse once for each character.
constexpr std::size_t kMaxMatchedBytes = 8000;
constexpr int kMaxAnswerDepth = 100;
/// Compared by "is within": beyond 2^53 a double no longer tells whole numbers apart.
constexpr double kMaxExactInteger = 9007199254740992.0;

/// 1.0 counts as an integer (draft 6 and later); the validator goes by the spelling.
nlohmann::json whole_numbers_as_integers(nlohmann::json value) {
  if (value.is_number_float()) {
    const double number = value.get<double>();
    if (std::trunc(number) == number && std::abs(number) < kMaxExactInteger) {
      return static_cast<std::int64_t>(number);
    }
  } else if (value.is_structured()) {
    for (auto& each : value) each = whole_numbers_as_integers(std::move(each));
  }
  return value;
}

/// Turns each `format` into a pattern of its own: the validator throws on the format of a
/// value that is no string (a date that is null) and knows few formats.
void formats_as_patterns(nlohmann::json& node, bool is_schema = true) {
  if (node.is_array()) {
    for (auto& each : node) formats_as_patterns(each, is_schema);
  } else if (node.is_object() && !is_schema) {
    for (auto& each : node) formats_as_patterns(each, true);  // a map from names to schemas
  } else if (node.is_object()) {
    for (auto& [key, value] : node.items()) {
      if (key == "const" || key == "enum" || key == "default" || key == "examples") continue;
      const bool is_map =
          key == "properties" || key == "patternProperties" || key == "$defs" || key == "definitions";
      formats_as_patterns(value, !is_map);
    }
    if (node.contains("format")) {
      nlohmann::json pattern = {{"pattern", format_pattern(node["format"].get<std::string>())}};
      node.erase("format");
      // A pattern of the schema's own stays beside it; allOf keeps both.
      node["allOf"].push_back(std::move(pattern));
    }
  }
}

int depth_of(const Json& value) {
  int deepest = 0;
  if (value.is_structured()) {
    for (const Json& each : value) deepest = std::max(deepest, depth_of(each));
    ++deepest;
  }
  return deepest;
}

bool has_text_longer_than(const Json& value, std::size_t bytes) {
  if (value.is_string()) return value.get_ref<const std::string&>().size() > bytes;
  return std::ranges::any_of(value, [&](const Json& each) {
    return (each.is_string() || each.is_structured()) && has_text_longer_than(each, bytes);
  });
}

/// "<root>", "[lines]", "[0]" -> "/lines/0"
std::string pointer_of(const std::vector<std::string>& context) {
  std::string pointer;
  for (const std::string& step : context) {
    if (step.size() >= 2 && step.front() == '[') pointer += "/" + step.substr(1, step.size() - 2);
  }
  return pointer;
}

}  // namespace

struct JsonSchema::Impl {
  Json document;
  std::string sketch;
  valijson::Schema compiled;

  Json ordered(const Json& node, const Json& value) const {
    const Json& schema = resolve_ref(document, node);
    if (!schema.is_object() || !value.is_structured()) return value;
    if (value.is_array()) {
      if (!schema.contains("items")) return value;
      Json list = Json::array();
      for (const Json& each : value) list.push_back(ordered(schema["items"], each));
      return list;
    }
    if (!schema.contains("properties")) {
      // The branch that lists the value's keys gives the order.
      for (const char* keyword : {"anyOf", "oneOf", "allOf"}) {
        if (!schema.contains(keyword)) continue;
        for (const Json& branch : schema[keyword]) {
          const Json& target = resolve_ref(document, branch);
          if (target.is_object() && target.contains("properties")) return ordered(target, value);
        }
      }
      return value;
    }
    Json object = Json::object();
    for (const auto& [name, property] : schema["properties"].items()) {
      if (value.contains(name)) object[name] = ordered(property, value[name]);
    }
    for (const auto& [name, each] : value.items()) {
      if (!object.contains(name)) object[name] = each;
    }
    return object;
  }
};

JsonSchema::JsonSchema(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
JsonSchema::JsonSchema(JsonSchema&&) noexcept = default;
JsonSchema& JsonSchema::operator=(JsonSchema&&) noexcept = default;
JsonSchema::~JsonSchema() = default;

JsonSchema JsonSchema::load(const std::filesystem::path& file, const std::string& param) {
  const auto refuse = [&](const std::string& why) { throw ParamError(param, file.string() + ": " + why); };
  if (std::error_code ignored; std::filesystem::is_directory(file, ignored)) refuse("is a folder");
  errno = 0;
  std::ifstream stream(file, std::ios::binary);
  if (!stream) refuse(errno != 0 ? system_message(errno) : "cannot be opened");
  std::string text(kMaxSchemaBytes + 1, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (stream.bad()) refuse("cannot be read");
  text.resize(static_cast<std::size_t>(stream.gcount()));
  if (text.size() > kMaxSchemaBytes) refuse("is larger than 4 MiB");
  return parse(text, file.string(), param);
}

JsonSchema JsonSchema::parse(std::string_view text, const std::string& name, const std::string& param) {
  auto impl = std::make_unique<Impl>();
  try {
    impl->document = Json::parse(text);
  } catch (const Json::exception& error) {
    // nlohmann's message begins with an id in brackets.
    std::string message = error.what();
    if (const std::size_t end = message.find("] "); end != std::string::npos) message.erase(0, end + 2);
    throw ParamError(param, name + ": is not JSON: " + message);
  }
  if (const std::string problem = schema_problem(impl->document); !problem.empty()) {
    throw ParamError(param, name + problem);
  }
  impl->sketch = schema_sketch(impl->document);
  try {
    nlohmann::json plain = whole_numbers_as_integers(nlohmann::json(impl->document));
    formats_as_patterns(plain);
    valijson::SchemaParser parser(valijson::SchemaParser::kDraft7);
    parser.populateSchema(valijson::adapters::NlohmannJsonAdapter(plain), impl->compiled);
  } catch (const std::exception& error) {
    throw ParamError(param, name + ": " + error.what());
  }
  return JsonSchema(std::move(impl));
}

std::string JsonSchema::sketch() const {
  return impl_->sketch;
}

std::vector<std::string> JsonSchema::errors(const Json& value) const {
  if (depth_of(value) > kMaxAnswerDepth) {
    return {"the value is nested deeper than " + std::to_string(kMaxAnswerDepth) + " levels"};
  }
  if (has_text_longer_than(value, kMaxMatchedBytes)) {
    return {"a string of the value is longer than " + std::to_string(kMaxMatchedBytes) + " bytes"};
  }
  const nlohmann::json plain = whole_numbers_as_integers(nlohmann::json(value));
  valijson::Validator validator;
  valijson::ValidationResults results;
  if (validator.validate(impl_->compiled, valijson::adapters::NlohmannJsonAdapter(plain), &results))
    return {};

  // The validator reports each failure once more for every object around it; the
  // innermost report is the one that says what to fix.
  std::vector<std::pair<std::string, std::string>> found;
  for (const auto& error : results) found.emplace_back(pointer_of(error.context), error.description);
  std::vector<std::string> errors;
  for (const auto& [pointer, description] : found) {
    const std::string below = pointer + "/";
    const bool outer =
        std::ranges::any_of(found, [&](const auto& other) { return other.first.starts_with(below); });
    const std::string text = (pointer.empty() ? "the object" : pointer) + ": " + description;
    if (!outer && std::ranges::find(errors, text) == errors.end()) errors.push_back(text);
  }
  return errors;
}

Json JsonSchema::ordered(const Json& value) const {
  return impl_->ordered(impl_->document, value);
}

}  // namespace reelfolio::stages
