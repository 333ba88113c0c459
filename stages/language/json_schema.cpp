#include "stages/language/json_schema.h"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <optional>
#include <system_error>
#include <utility>

#include "engine/constraint/schema_references.h"
#include "stages/error.h"
#include "stages/language/json_answer.h"
#include "stages/language/schema_check.h"
#include "stages/language/schema_sketch.h"
#include "stages/language/schema_validator.h"
#include "stages/system_message.h"

namespace reelfolio::stages {

namespace {

constexpr std::size_t kMaxSchemaBytes = 4U << 20U;
/// libstdc++'s regular expressions recurse once for each character.
constexpr std::size_t kMaxMatchedBytes = 8000;

int depth_of(const Json& value) {
  int deepest = 0;
  if (value.is_structured()) {
    for (const Json& each : value) deepest = std::max(deepest, depth_of(each));
    ++deepest;
  }
  return deepest;
}

/// Keys of objects count too: patternProperties and propertyNames match them.
bool has_text_longer_than(const Json& value, std::size_t bytes) {
  if (value.is_string()) return value.get_ref<const std::string&>().size() > bytes;
  if (value.is_object()) {
    for (const auto& [key, each] : value.items()) {
      if (key.size() > bytes) return true;
    }
  }
  return std::ranges::any_of(value, [&](const Json& each) {
    return (each.is_string() || each.is_structured()) && has_text_longer_than(each, bytes);
  });
}

}  // namespace

struct JsonSchema::Impl {
  Json document;
  std::string sketch;
  std::optional<SchemaValidator> validator;

  Json ordered(const Json& node, const Json& value) const {
    const Json& schema = resolve_ref(document, node);
    if (!schema.is_object() || !value.is_structured()) return value;
    if (value.is_array()) {
      const auto prefix = schema.find("prefixItems");
      const auto items = schema.find("items");
      Json list = Json::array();
      for (std::size_t i = 0; i < value.size(); ++i) {
        const bool is_listed = prefix != schema.end() && i < prefix->size();
        list.push_back(is_listed               ? ordered((*prefix)[i], value[i])
                       : items != schema.end() ? ordered(*items, value[i])
                                               : value[i]);
      }
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
  engine::constraint::point_references(impl->document);
  if (const std::string problem = schema_problem(impl->document); !problem.empty()) {
    throw ParamError(param, name + problem);
  }
  impl->sketch = schema_sketch(impl->document);
  impl->validator.emplace(impl->document);
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
  return impl_->validator->errors(value);
}

const Json& JsonSchema::document() const {
  return impl_->document;
}

Json JsonSchema::ordered(const Json& value) const {
  return impl_->ordered(impl_->document, value);
}

}  // namespace reelfolio::stages
