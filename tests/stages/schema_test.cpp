#include <algorithm>

#include "engine/constraint/constraint.h"
#include "stages/language/json_schema.h"
#include "tests/stages/language_fixture.h"
#include "tests/support/catch.h"

using namespace reelfolio::stages;
using namespace reelfolio::stages::testing;

namespace {

JsonSchema parse(const std::string& text) {
  return JsonSchema::parse(text, "s.json", "schema");
}

/// Message without "schema: s.json"; "" if the schema is accepted.
std::string problem(const std::string& text) {
  const std::string message = param_error([&] { (void)parse(text); });
  const std::string prefix = "schema: s.json";
  return message.starts_with(prefix) ? message.substr(prefix.size()) : message;
}

std::string with_property(const std::string& schema) {
  return R"({"type":"object","properties":{"x":)" + schema + "}}";
}

bool admits(const std::string& property_schema, const std::string& value) {
  const auto schema = parse(with_property(property_schema));
  return schema.errors(Json::parse(R"({"x":)" + value + "}")).empty();
}

constexpr const char* kInvoice = R"({
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "Invoice",
  "type": "object",
  "properties": {
    "number": {"type": "string", "description": "the invoice number"},
    "date": {"type": ["string", "null"], "format": "date"},
    "currency": {"enum": ["EUR", "USD"]},
    "paid": {"type": "boolean"},
    "tags": {"type": "array", "items": {"type": "string"}},
    "lines": {"type": "array", "description": "one for\neach line", "items": {"$ref": "#/$defs/line"}},
    "total": {"type": "number", "minimum": 0}
  },
  "required": ["number", "date", "currency", "paid", "tags", "lines", "total"],
  "additionalProperties": false,
  "$defs": {
    "line": {
      "type": "object",
      "properties": {"amount": {"type": "number"}, "text": {"type": "string", "description": "as printed"}},
      "required": ["amount"]
    }
  }
})";

}  // namespace

TEST_CASE("schema: the sketch shows fields in the schema's order with types and descriptions") {
  CHECK(parse(kInvoice).sketch() ==
        R"({
  "number": string,  // the invoice number
  "date": string (date, YYYY-MM-DD) | null,
  "currency": "EUR" | "USD",
  "paid": true | false,
  "tags": [string, ...],
  "lines": [  // one for each line
    {
      "amount": number,
      "text": string  // optional; as printed
    },
    ...
  ],
  "total": number
})");
}

TEST_CASE("schema: a schema that refers to itself is unrolled twice in the sketch and checked to any depth") {
  const auto schema = parse(R"({"type":"object","properties":{"name":{"type":"string"},"child":{"$ref":"#"}},
                                "required":["name"]})");
  CHECK(schema.sketch().find("...") != std::string::npos);
  CHECK(schema.errors(Json::parse(R"({"name":"a","child":{"name":"b","child":{"name":"c"}}})")).empty());
  const auto errors = schema.errors(Json::parse(R"({"name":"a","child":{"name":"b","child":{"name":1}}})"));
  REQUIRE(errors.size() == 1);
  CHECK(errors[0].starts_with("/child/child/name: "));
}

TEST_CASE("schema: a valid value has no errors and keeps the schema's order") {
  const auto schema = parse(kInvoice);
  const Json value = Json::parse(
      R"({"total":42,"lines":[{"text":"t","amount":1.5}],"number":"A","date":null,"tags":[],"paid":true,"currency":"EUR"})");
  CHECK(schema.errors(value).empty());
  CHECK(
      schema.ordered(value).dump() ==
      R"({"number":"A","date":null,"currency":"EUR","paid":true,"tags":[],"lines":[{"amount":1.5,"text":"t"}],"total":42})");
}

TEST_CASE("schema: keys that the schema does not list follow in the order of the answer") {
  const auto schema = parse(with_property(R"({"type":"string"})"));
  CHECK(schema.ordered(Json::parse(R"({"z":1,"x":"a","b":2})")).dump() == R"({"x":"a","z":1,"b":2})");
}

TEST_CASE("schema: errors name the innermost place") {
  const auto schema = parse(kInvoice);
  const auto errors = schema.errors(Json::parse(
      R"({"total":-1,"lines":[{"amount":"much"}],"number":"A","date":"soon","tags":[],"paid":true,"currency":"GBP"})"));
  const auto has = [&](const std::string& prefix) {
    return std::any_of(errors.begin(), errors.end(),
                       [&](const auto& each) { return each.starts_with(prefix); });
  };
  CAPTURE(errors);
  CHECK(has("/total: "));
  CHECK(has("/lines/0/amount: "));
  CHECK(has("/date: "));
  CHECK(has("/currency: "));
  CHECK_FALSE(has("/lines: "));
  CHECK_FALSE(has("the object: "));
  CHECK(schema.errors(Json::object()).size() >= 1);
}

TEST_CASE("schema: each supported keyword constrains") {
  CHECK(admits(R"({"type":"integer"})", "3"));
  CHECK(admits(R"({"type":"integer"})", "3.0"));
  CHECK_FALSE(admits(R"({"type":"integer"})", "3.5"));
  CHECK(admits(R"({"type":"number"})", "3"));
  CHECK_FALSE(admits(R"({"type":"number"})", "\"3\""));
  CHECK_FALSE(admits(R"({"type":"string"})", "null"));
  CHECK(admits(R"({"type":["string","null"]})", "null"));
  CHECK(admits(R"({"const":1})", "1.0"));
  CHECK_FALSE(admits(R"({"const":"a"})", "\"b\""));
  CHECK_FALSE(admits(R"({"enum":["a",1,null]})", "2"));
  CHECK(admits(R"({"enum":["a",1,null]})", "null"));
  CHECK_FALSE(admits(R"({"minLength":2})", "\"ä\""));
  CHECK_FALSE(admits(R"({"maxLength":2})", "\"äöü\""));
  CHECK(admits(R"({"maxLength":3})", "\"äöü\""));
  CHECK(admits(R"({"pattern":"^A-[0-9]+$"})", "\"A-17\""));
  CHECK_FALSE(admits(R"({"pattern":"^A-[0-9]+$"})", "\"B-17\""));
  CHECK_FALSE(admits(R"({"minimum":1})", "0.5"));
  CHECK_FALSE(admits(R"({"maximum":1})", "1.5"));
  CHECK_FALSE(admits(R"({"exclusiveMinimum":1})", "1"));
  CHECK_FALSE(admits(R"({"exclusiveMaximum":1})", "1"));
  CHECK_FALSE(admits(R"({"multipleOf":5})", "7"));
  CHECK_FALSE(admits(R"({"multipleOf":5})", "7.5"));
  CHECK(admits(R"({"multipleOf":5})", "10.0"));
  CHECK_FALSE(admits(R"({"items":{"type":"integer"}})", "[1,\"a\"]"));
  CHECK_FALSE(admits(R"({"minItems":1})", "[]"));
  CHECK_FALSE(admits(R"({"maxItems":1})", "[1,2]"));
  CHECK_FALSE(admits(R"({"uniqueItems":true})", "[1,1]"));
  CHECK_FALSE(admits(R"({"contains":{"const":3}})", "[1,2]"));
  CHECK(admits(R"({"contains":{"const":3}})", "[1,3]"));
  CHECK_FALSE(admits(R"({"properties":{"a":{}},"additionalProperties":false})", R"({"b":1})"));
  CHECK_FALSE(admits(R"({"additionalProperties":{"type":"string"}})", R"({"b":1})"));
  CHECK_FALSE(admits(R"({"patternProperties":{"^n":{"type":"number"}}})", R"({"n1":"x"})"));
  CHECK_FALSE(admits(R"({"propertyNames":{"pattern":"^[a-z]+$"}})", R"({"A":1})"));
  CHECK_FALSE(admits(R"({"minProperties":1})", "{}"));
  CHECK_FALSE(admits(R"({"maxProperties":0})", R"({"a":1})"));
  CHECK_FALSE(admits(R"({"required":["a"]})", "{}"));
  CHECK_FALSE(admits(R"({"allOf":[{"minimum":1},{"maximum":2}]})", "3"));
  CHECK(admits(R"({"anyOf":[{"type":"null"},{"type":"string"}]})", "null"));
  CHECK_FALSE(admits(R"({"anyOf":[{"type":"null"},{"type":"string"}]})", "1"));
  CHECK_FALSE(admits(R"({"oneOf":[{"minimum":1},{"minimum":2}]})", "3"));
  CHECK_FALSE(admits(R"({"not":{"type":"string"}})", "\"a\""));
  CHECK_FALSE(admits(R"({"if":{"minimum":5},"then":{"maximum":6},"else":{"maximum":2}})", "7"));
  CHECK_FALSE(admits(R"({"if":{"minimum":5},"then":{"maximum":6},"else":{"maximum":2}})", "3"));
  CHECK(admits(R"({"multipleOf":0.01})", "42.1"));
  CHECK(admits(R"({"multipleOf":0.01})", "-1e3"));
  CHECK(admits(R"({"multipleOf":0.01})", "0"));
  CHECK_FALSE(admits(R"({"multipleOf":0.01})", "42.105"));
  CHECK_FALSE(admits(R"({"multipleOf":2.5e3})", "5050"));
  CHECK(admits(R"({"multipleOf":2.5e3})", "1e300"));
  CHECK(admits(R"({"prefixItems":[{"type":"string"},{"type":"null"}],"items":false})", "[\"a\",null]"));
  CHECK_FALSE(
      admits(R"({"prefixItems":[{"type":"string"},{"type":"null"}],"items":false})", "[\"a\",null,1]"));
  CHECK_FALSE(admits(R"({"prefixItems":[{"type":"string"}]})", "[1]"));
  CHECK_FALSE(admits(R"({"items":[{"type":"string"}],"additionalItems":{"type":"null"}})", "[\"a\",1]"));
  CHECK(admits(R"({"items":{"type":"string"},"additionalItems":false})", "[\"a\",\"b\"]"));
  CHECK_FALSE(admits(R"({"contains":{"const":3},"minContains":2})", "[3,1]"));
  CHECK(admits(R"({"contains":{"const":3},"minContains":0})", "[1]"));
  CHECK_FALSE(admits(R"({"contains":{"const":3},"maxContains":1})", "[3,3]"));
  CHECK_FALSE(admits(R"({"dependentRequired":{"a":["b"]}})", R"({"a":1})"));
  CHECK(admits(R"({"dependentRequired":{"a":["b"]}})", R"({"b":1})"));
  CHECK_FALSE(admits(R"({"dependentSchemas":{"a":{"maxProperties":1}}})", R"({"a":1,"b":2})"));
  CHECK_FALSE(admits(R"({"dependencies":{"a":["b"],"c":{"maxProperties":1}}})", R"({"c":1,"d":2})"));
  CHECK_FALSE(
      admits(R"({"$anchor":"x","anyOf":[{"type":"null"},{"items":{"$ref":"#x"},"type":"array"}]})", "[1]"));
  CHECK(admits(R"({"$anchor":"x","anyOf":[{"type":"null"},{"items":{"$ref":"#x"},"type":"array"}]})",
               "[[null]]"));
  CHECK_FALSE(admits("false", "1"));
  CHECK(admits("true", "1"));
}

TEST_CASE("schema: formats are checked, for strings alone") {
  CHECK(admits(R"({"type":["string","null"],"format":"date"})", "null"));
  CHECK(admits(R"({"format":"date"})", "\"2026-02-28\""));
  CHECK_FALSE(admits(R"({"format":"date"})", "\"2026-02-30\""));
  CHECK_FALSE(admits(R"({"format":"date"})", "\"28.02.2026\""));
  CHECK(admits(R"({"format":"time"})", "\"16:52:45+02:00\""));
  CHECK_FALSE(admits(R"({"format":"time"})", "\"25:00:00Z\""));
  CHECK(admits(R"({"format":"date-time"})", "\"2026-02-28T16:52:45.5Z\""));
  CHECK_FALSE(admits(R"({"format":"date-time"})", "\"2026-02-28\""));
  CHECK(admits(R"({"format":"email"})", "\"a@b.example\""));
  CHECK_FALSE(admits(R"({"format":"email"})", "\"a b\""));
  CHECK(admits(R"({"format":"uri"})", "\"https://a.example/b?c\""));
  CHECK_FALSE(admits(R"({"format":"uri"})", "\"/relative\""));
  CHECK(admits(R"({"format":"uuid"})", "\"123e4567-e89b-12d3-a456-426614174000\""));
  CHECK_FALSE(admits(R"({"format":"uuid"})", "\"123e4567\""));
  CHECK_FALSE(admits(R"({"format":"date","pattern":"^2026"})", "\"2025-01-01\""));
}

TEST_CASE("schema: formats keep to their standards") {
  const auto is = [](const char* format, const std::string& text) {
    return admits(std::string(R"({"format":")") + format + "\"}", Json(text).dump());
  };
  for (const char* text : {"joe.bloggs@example.com", "~te~st@example.com", R"("joe bloggs"@example.com)",
                           R"("a\"@b"@x)", "a@[127.0.0.1]", "a@[IPv6:::1]"}) {
    CAPTURE(text);
    CHECK(is("email", text));
  }
  for (const char* text : {".a@x", "a.@x", "a..b@x", "a@b=c", "a@[127.0.0.300]", "a@x, b@y", "@x", "a@",
                           "a@-x", "a@x-", "\"a@x", "a@[::1]", "a@[IPv6:1::2::3]"}) {
    CAPTURE(text);
    CHECK_FALSE(is("email", text));
  }
  for (const char* text :
       {"http://-.~_!$&'()*+,;=:%40:80%2f::::::@example.com", "ldap://[2001:db8::7]/c=GB?o?one",
        "tel:+1-816-555-1212", "x:", "http://[v1.fe:x]:80", "http://[1:2:3:4:5:6:7.8.9.10]/a//b",
        "http://999.999.999.999/"}) {
    CAPTURE(text);
    CHECK(is("uri", text));
  }
  for (const char* text :
       {"//foo.bar", "abc", "http:// a", "https://[@example.org/t", "a:b\\c", "a:%6G", "a:%A", "1a:b",
        "http://x:abc/", "http://[::ffff:01.2.3.4]", "http:/[::1]", "http://[1::2::3]",
        "http://[1:2:3:4:5:6:7:8:9]", "http://[1:2:3:4:5:6:7::8]", "a:b#c#d"}) {
    CAPTURE(text);
    CHECK_FALSE(is("uri", text));
  }
  CHECK(is("time", "23:59:60.123456789012345Z"));
  CHECK_FALSE(is("time", "22:59:60Z"));
  CHECK(is("date", "0400-02-29"));
  CHECK_FALSE(is("date", "2100-02-29"));
  CHECK_FALSE(is("date-time", "1985-04-12T23:20:50Z\n"));
}

TEST_CASE("schema: lists with a schema for each place are sketched and ordered as they are listed") {
  const auto schema = parse(with_property(
      R"({"prefixItems":[{"type":"string"},{"properties":{"b":{"type":"null"},"a":{"type":"null"}}}],"items":false})"));
  CHECK(schema.sketch().find("\"x\": [string, {") != std::string::npos);
  CHECK(schema.ordered(Json::parse(R"({"x":["s",{"a":null,"b":null}]})")).dump() ==
        R"({"x":["s",{"b":null,"a":null}]})");
}

// What answers can be held to must be known to the check that follows.
TEST_CASE("schema: every keyword and format of the constraint is known here too") {
  for (const auto& keyword : reelfolio::engine::schema_keywords()) {
    if (!keyword.refused.empty()) continue;
    CAPTURE(std::string(keyword.name));
    const std::string message = problem(with_property("{\"" + std::string(keyword.name) + "\":{}}"));
    CHECK(message.find("keyword '") == std::string::npos);
  }
  for (const auto& format : reelfolio::engine::schema_formats()) {
    CHECK(problem(with_property("{\"format\":\"" + std::string(format.name) + "\"}")).empty());
  }
}

TEST_CASE("schema: a property may be named like a keyword") {
  const auto schema =
      parse(R"({"type":"object","properties":{"format":{"type":"string"},"const":{"format":"date"},
                                "$ref":{"type":"string"},"properties":{"type":"object"}}})");
  CHECK(schema.errors(Json::parse(R"({"format":"A4","$ref":"x"})")).empty());
  CHECK_FALSE(schema.errors(Json::parse(R"({"const":"x"})")).empty());
}

TEST_CASE("schema: unsupported keywords are refused with their place, never ignored") {
  CHECK(problem(with_property(R"({"unevaluatedItems":false})")) ==
        "#/properties/x: keyword 'unevaluatedItems' is not supported");
  CHECK(problem(with_property(R"({"type":"string","nullable":true})")) ==
        R"(#/properties/x: keyword 'nullable' is not supported, write "type": ["string", "null"] instead)");
  CHECK(problem(with_property(R"({"maxLenght":3})")).find("did you mean 'maxLength'?") != std::string::npos);
  CHECK(problem(with_property(R"({"format":"ipv4"})")).find("#/properties/x/format: format 'ipv4'") == 0);
  CHECK(
      problem(with_property(R"({"prefixItems":[true],"items":[true]})")).find("#/properties/x/items: must") ==
      0);
  for (const char* keyword : {"unevaluatedProperties", "id", "$dynamicRef", "contentEncoding"}) {
    CAPTURE(keyword);
    CHECK(problem(with_property(std::string("{\"") + keyword + "\":{}}")).find("is not supported") !=
          std::string::npos);
  }
}

TEST_CASE("schema: keyword values of the wrong kind are refused with their place") {
  CHECK(problem(with_property(R"({"type":"strng"})")) ==
        "#/properties/x/type: unknown type \"strng\"; did you mean 'string'?");
  CHECK(problem(with_property(R"({"minLength":-1})")) ==
        "#/properties/x/minLength: is number, expected a whole number from 0 to 1000000000");
  CHECK(problem(with_property(R"({"required":"a"})")).find("#/properties/x/required: is string") == 0);
  CHECK(problem(with_property(R"({"enum":[]})")).find("#/properties/x/enum: ") == 0);
  CHECK(problem(with_property(R"({"pattern":"("})")).find("#/properties/x/pattern: '('") == 0);
  CHECK(problem(with_property(R"({"multipleOf":0})")).find("must be above 0") != std::string::npos);
  CHECK(problem(with_property("7")).find("#/properties/x: is number, expected a schema") == 0);
  CHECK(problem(R"({"type":"object","properties":{"a/b":{"type":7}}})").find("#/properties/a~1b/type: ") ==
        0);
  CHECK(problem(R"({"$schema":"http://json-schema.org/draft-04/schema#","type":"object"})")
            .find("#/$schema: ") == 0);
}

TEST_CASE("schema: the top must be an object") {
  CHECK(problem(R"({"type":"array"})").find("#: the schema must say \"type\": \"object\"") == 0);
  CHECK(problem("[]").find("#: is array") == 0);
  CHECK(problem(R"({"$ref":"#/$defs/a","$defs":{"a":{"type":"object"}}})").empty());
}

TEST_CASE("schema: text that is not JSON is refused with its place") {
  CHECK(problem("{\"type\": }").find(": is not JSON: parse error at line 1, column 10") == 0);
  CHECK(problem("").find(": is not JSON: ") == 0);
}

TEST_CASE("schema: $ref stays within the document and leads somewhere") {
  CHECK(problem(with_property(R"({"$ref":"other.json#/a"})")).find("is not supported") != std::string::npos);
  CHECK(problem(with_property(R"({"$ref":"file:///etc/passwd"})")).find("is not supported") !=
        std::string::npos);
  CHECK(problem(with_property(R"({"$ref":"http://a.example/s.json"})")).find("is not supported") !=
        std::string::npos);
  CHECK(problem(with_property(R"({"$ref":"#/$defs/none"})")).find("does not lead to a schema") !=
        std::string::npos);
  CHECK(problem(with_property(R"({"$ref":"#/properties/x"})")).find("leads only to itself") !=
        std::string::npos);
  CHECK(problem(R"({"$schema":"http://json-schema.org/draft-07/schema#","type":"object",
                    "properties":{"x":{"$ref":"#","type":"object"}}})")
            .find("'type' beside $ref") != std::string::npos);
  CHECK(problem(R"({"type":"object","properties":{"a":{"$ref":"#/$defs/p"}},
                    "$defs":{"p":{"$ref":"#/$defs/q"},"q":{"$ref":"#/$defs/p"}}})")
            .find("leads only to itself") != std::string::npos);
  CHECK(problem(R"({"type":"object","properties":{"a":{"$ref":"#/$defs/p"},"b":{"$ref":"#/$defs/p"}},
                    "$defs":{"p":{"$ref":"#/$defs/q"},"q":{"type":"string"}}})")
            .empty());
}

TEST_CASE("schema: hostile nesting and long strings give errors, not crashes") {
  std::string deep;
  for (int i = 0; i < 5000; ++i) deep += R"({"not":)";
  deep += "true";
  for (int i = 0; i < 5000; ++i) deep += "}";
  CHECK(problem(with_property(deep)).find("nested deeper") != std::string::npos);
  const auto schema =
      parse(R"({"type":"object","properties":{"x":{"pattern":"^(a|b)*$"},"c":{"$ref":"#"}}})");
  const Json text = {{"x", std::string(200000, 'a')}};
  CHECK(schema.errors(text).size() == 1);
  Json nested = Json::object();
  for (int i = 0; i < 1000; ++i) nested = Json{{"c", std::move(nested)}};
  CHECK(schema.errors(nested).size() == 1);
}

TEST_CASE("schema: one that applies itself to the same value is refused") {
  for (const char* schema :
       {R"({"type":"object","allOf":[{"$ref":"#"}]})", R"({"type":"object","not":{"$ref":"#"}})",
        R"({"type":"object","if":true,"then":{"anyOf":[{"$ref":"#/then"}]}})"}) {
    CAPTURE(schema);
    CHECK(problem(schema).find("without end") != std::string::npos);
  }
  const std::string tree = R"({"type":"object","properties":{"child":{"$ref":"#"}}})";
  CHECK(parse(tree).errors(Json::parse(R"({"child":{"child":{}}})")).empty());
}

TEST_CASE("schema: what nests, chains or repeats too far is refused, not followed") {
  const auto times = [](int count, const std::string& text) {
    std::string all;
    for (int i = 0; i < count; ++i) all += text;
    return all;
  };
  CHECK(problem(with_property("{\"default\":" + times(100000, "[") + times(100000, "]") + "}"))
            .find("nested deeper") != std::string::npos);
  CHECK(problem(with_property("{\"type\":" + times(100000, "[") + times(100000, "]") + "}"))
            .find("nested deeper") != std::string::npos);
  CHECK(problem(with_property("{\"pattern\":\"" + times(100000, "a") + "\"}")).find("at most 1000") !=
        std::string::npos);
  CHECK(problem(with_property("{\"anyOf\":[true" + times(2000, ",true") + "]}"))
            .find("more than 1000 schemas") != std::string::npos);
  CHECK(
      problem(with_property(times(40, "{\"not\":") + "true" + times(40, "}"))).find("more than 32 schemas") !=
      std::string::npos);
  CHECK(problem(with_property(R"({"multipleOf":18446744073709551615})")).find("more than 16 digits") !=
        std::string::npos);
}

TEST_CASE("schema: the sketch of schemas that refer to each other stays short") {
  std::string definitions;
  for (int i = 0; i < 30; ++i) {
    const std::string next = R"({"$ref":"#/$defs/d)" + std::to_string((i + 1) % 30) + "\"}";
    definitions += (i > 0 ? "," : "") + std::string("\"d") + std::to_string(i) +
                   R"(":{"type":"object","properties":{"a":)" + next + R"(,"b":)" + next + "}}";
  }
  const JsonSchema schema =
      parse(R"({"type":"object","properties":{"d":{"$ref":"#/$defs/d0"}},"$defs":{)" + definitions + "}}");
  CHECK(schema.sketch().size() < 200'000);
}
