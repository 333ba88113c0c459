#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "engine/constraint/schema_references.h"
#include "stages/error.h"
#include "stages/language/json_answer.h"
#include "stages/language/json_schema.h"

using namespace reelfolio::stages;

/// A JSON schema, then, after a NUL, a model's answer: found, checked and put in order.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t end = input.find('\0');
  const std::optional<Json> answer =
      json_object_in(end == std::string_view::npos ? input : input.substr(end + 1));
  if (answer && !answer->is_object()) std::abort();
  try {
    const JsonSchema schema = JsonSchema::parse(input.substr(0, end), "schema.json", "schema");
    if (schema.sketch().empty()) std::abort();
    Json document = schema.document();
    reelfolio::engine::constraint::point_references(document);
    if (document != schema.document()) std::abort();
    const Json value = answer.value_or(Json::object());
    if (schema.errors(value) != schema.errors(value)) std::abort();
    const Json ordered = schema.ordered(value);
    if (nlohmann::json(ordered) != nlohmann::json(value)) std::abort();
    if (schema.ordered(ordered) != ordered) std::abort();
  } catch (const ParamError&) {
  }
  return 0;
}
