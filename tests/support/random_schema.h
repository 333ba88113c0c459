#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

/// Schemas and values by chance, for properties that hold for all of them.
namespace reelfolio::test {

/// Makes schemas of the keywords that constrained decoding and the validator both support, and values
/// that satisfy them often, but not always. The same for the same seed.
class RandomSchemas {
 public:
  using Json = nlohmann::ordered_json;

  explicit RandomSchemas(std::uint32_t seed) : random_(seed) {}

  /// An object schema with one required property "v" that may refer to "#/$defs/tree".
  Json schema() {
    Json inner = any_schema(3);
    return {{"type", "object"},
            {"properties", {{"v", inner}}},
            {"required", {"v"}},
            {"additionalProperties", false},
            {"$defs",
             {{"tree",
               {{"type", "object"},
                {"properties",
                 {{"n", {{"type", "integer"}}},
                  {"below", {{"type", "array"}, {"items", {{"$ref", "#/$defs/tree"}}}, {"maxItems", 2}}}}},
                {"required", {"n"}},
                {"additionalProperties", false}}}}}};
  }

  /// A value for `schema`, a schema that schema() made, by its keywords; now and then with an error in it.
  Json value(const Json& root) { return value_of(root, root, 6); }

 private:
  std::size_t below(std::size_t end) { return random_() % end; }
  bool chance(std::size_t percent) { return below(100) < percent; }
  template <class T>
  const T& pick(const std::vector<T>& list) {
    return list[below(list.size())];
  }

  std::string word() {
    static const std::vector<std::string> kWords = {"a",     "b",   "ab",    "total", "x y", "é",
                                                    "\"q\"", "n\\", "tab\t", "日本",  "",    "😀"};
    return pick(kWords);
  }
  int small() { return static_cast<int>(below(41)) - 20; }

  Json scalar() {
    switch (below(5)) {
      case 0:
        return nullptr;
      case 1:
        return chance(50);
      case 2:
        return small();
      case 3:
        return small() / 4.0;
      default:
        return word();
    }
  }

  Json string_schema() {
    Json schema = {{"type", "string"}};
    switch (below(6)) {
      case 0:
        schema["pattern"] = pick<std::string>(
            {"^[A-Z]{2,3}$", "^a*b+$", "[0-9]", "^(x|yz)?$", "^[^a]*$", "^-?[0-9]+([.][0-9]+)?$", "o"});
        if (chance(30)) schema["maxLength"] = 3 + below(3);
        break;
      case 1:
        schema["format"] = pick<std::string>({"date", "uuid", "time", "email", "date-time", "uri"});
        break;
      case 2:
        schema["minLength"] = below(4);
        break;
      case 3:
        schema["maxLength"] = below(5);
        if (chance(50)) schema["minLength"] = below(schema["maxLength"].get<std::size_t>() + 1);
        break;
      default:
        break;
    }
    return schema;
  }

  Json number_schema() {
    Json schema = {{"type", chance(50) ? "integer" : "number"}};
    const int low = small();
    const int high = low + static_cast<int>(below(25));
    if (chance(40))
      schema[chance(70) ? "minimum" : "exclusiveMinimum"] = chance(70) ? Json(low) : Json(low - 0.5);
    if (chance(40))
      schema[chance(70) ? "maximum" : "exclusiveMaximum"] = chance(70) ? Json(high + 1) : Json(high + 1.25);
    if (chance(30))
      schema["multipleOf"] =
          schema["type"] == "integer" ? Json(1 + below(7)) : Json(pick<double>({0.25, 0.5, 1.5, 2}));
    return schema;
  }

  Json object_schema(int depth) {
    Json schema = {{"type", "object"}, {"properties", Json::object()}};
    Json required = Json::array();
    const std::size_t count = below(4);
    for (std::size_t i = 0; i < count; ++i) {
      const std::string name =
          pick<std::string>({"number", "total", "date", "a", "b", "é", "name"}) + (chance(20) ? "2" : "");
      if (schema["properties"].contains(name)) continue;
      schema["properties"][name] = any_schema(depth - 1);
      if (chance(60)) required.push_back(name);
    }
    if (!required.empty()) schema["required"] = required;
    if (chance(70)) {
      schema["additionalProperties"] = false;
    } else if (chance(50)) {
      schema["additionalProperties"] = any_schema(0);
    }
    if (chance(10)) schema["maxProperties"] = required.size() + below(3);
    if (chance(15)) {
      schema["dependentRequired"][pick<std::string>({"number", "a", "x"})] =
          Json::array({pick<std::string>({"total", "b"})});
    } else if (chance(10)) {
      schema["dependentSchemas"][pick<std::string>({"number", "a"})] = {
          {"properties", {{"b", any_schema(0)}}}};
    }
    return schema;
  }

  Json any_schema(int depth) {
    switch (below(depth > 0 ? 14 : 7)) {
      case 0:
        return {{"type", "boolean"}};
      case 1:
      case 2:
        return number_schema();
      case 3:
      case 4:
        return string_schema();
      case 5: {
        Json values = Json::array();
        for (std::size_t i = 0; i <= below(4); ++i) values.push_back(scalar());
        return {{"enum", values}};
      }
      case 6: {
        Json schema = chance(50) ? string_schema() : number_schema();
        schema["type"] = {schema["type"], "null"};
        return schema;
      }
      case 7:
        return {{"anyOf", {any_schema(depth - 1), any_schema(depth - 1)}}};
      case 8: {
        Json schema = {{"type", "array"}, {"items", any_schema(depth - 1)}};
        if (chance(40)) schema["minItems"] = below(3);
        if (chance(50)) schema["maxItems"] = 2 + below(3);
        if (chance(20)) {
          schema["contains"] = any_schema(0);
          if (chance(50)) schema["minContains"] = below(3);
        } else if (chance(15)) {
          schema["prefixItems"] = Json::array({any_schema(0), any_schema(0)});
        }
        return schema;
      }
      case 12: {
        Json values = Json::array();
        for (std::size_t i = 0; i <= below(5); ++i) values.push_back(scalar());
        Json schema = {{"type", "array"}, {"items", {{"enum", values}}}, {"uniqueItems", true}};
        if (chance(30)) schema["minItems"] = 1 + below(2);
        return schema;
      }
      case 9:
        return {{"$ref", "#/$defs/tree"}};
      case 10:
        return {{"allOf", {number_schema(), {{"minimum", -30}}}}};
      default:
        return object_schema(depth);
    }
  }

  Json string_value(const Json& schema) {
    if (schema.contains("format") || schema.contains("pattern")) {
      static const std::vector<std::string> kTexts = {"2024-02-29",
                                                      "2023-02-28",
                                                      "1999-12-31",
                                                      "2024-13-01",
                                                      "AB",
                                                      "XYZ",
                                                      "ABCD",
                                                      "aab",
                                                      "bbb",
                                                      "b",
                                                      "x",
                                                      "yz",
                                                      "",
                                                      "-12.5",
                                                      "7",
                                                      "no 7",
                                                      "foo",
                                                      "12:30:00Z",
                                                      "23:59:59.5+01:00",
                                                      "25:00:00Z",
                                                      "a@b.de",
                                                      "a.b@example.com",
                                                      "@x",
                                                      "2024-01-31T08:00:00Z",
                                                      "123e4567-e89b-12d3-a456-426614174000",
                                                      "https://example.com/a?b=c",
                                                      "no uri"};
      return pick(kTexts);
    }
    std::string text = word();
    if (schema.contains("minLength") && chance(80))
      text += std::string(schema["minLength"].get<std::size_t>(), 'z');
    return text;
  }

  Json value_of(const Json& root, const Json& schema, int depth) {
    if (chance(4) || depth == 0 || !schema.is_object()) return scalar();
    if (schema.contains("$ref")) return value_of(root, root["$defs"]["tree"], depth);
    if (schema.contains("anyOf")) return value_of(root, schema["anyOf"][below(2)], depth - 1);
    if (schema.contains("allOf")) return value_of(root, schema["allOf"][0], depth - 1);
    if (schema.contains("enum")) return schema["enum"][below(schema["enum"].size())];
    if (!schema.contains("type")) return scalar();
    std::string type = schema["type"].is_array() ? schema["type"][below(2)].get<std::string>()
                                                 : schema["type"].get<std::string>();
    if (type == "null") return nullptr;
    if (type == "boolean") return chance(50);
    if (type == "integer") return chance(90) ? Json(small()) : Json(small() + 0.5);
    if (type == "number") return chance(50) ? Json(small()) : Json(small() / 8.0);
    if (type == "string") return string_value(schema);
    if (type == "array") {
      Json list = Json::array();
      for (std::size_t i = below(5); i > 0; --i) list.push_back(value_of(root, schema["items"], depth - 1));
      return list;
    }
    Json object = Json::object();
    for (const auto& [name, property] : schema["properties"].items()) {
      const bool required = schema.contains("required") &&
                            schema["required"].dump().find(Json(name).dump()) != std::string::npos;
      if (required ? chance(96) : chance(50)) object[name] = value_of(root, property, depth - 1);
    }
    if (chance(10)) object[word()] = scalar();
    // Keys may stand in any order.
    if (object.size() > 1 && chance(30)) {
      const std::string first = object.items().begin().key();
      const Json moved = object[first];
      object.erase(first);
      object[first] = moved;
    }
    return object;
  }

  std::mt19937 random_;
};

}  // namespace reelfolio::test
