#include "engine/constraint/constraint.h"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/constraint/automaton.h"
#include "engine/constraint/numbers.h"
#include "engine/constraint/regex.h"
#include "tests/support/catch.h"

namespace {

using namespace reelfolio::engine;

std::shared_ptr<const Constraint> compile(std::string_view schema, const ConstraintOptions& options = {}) {
  return Constraint::json_schema(schema, options);
}

/// Pointers and messages of all refusals, one a line; "" for a schema that is supported.
std::string refusals(std::string_view schema) {
  try {
    compile(schema);
    return "";
  } catch (const ConstraintError& error) {
    std::string lines;
    for (const SchemaRefusal& each : error.refusals()) lines += each.pointer + ": " + each.message + "\n";
    return lines;
  }
}

struct Case {
  const char* schema;
  std::vector<const char*> valid;
  std::vector<const char*> invalid;
};

void check(const std::vector<Case>& cases) {
  for (const Case& each : cases) {
    INFO(each.schema);
    const auto constraint = compile(each.schema);
    for (const char* value : each.valid) {
      INFO("valid " << value);
      CHECK(constraint->admits_value(value));
    }
    for (const char* value : each.invalid) {
      INFO("invalid " << value);
      CHECK_FALSE(constraint->admits_value(value));
    }
    // What is made by force is admitted as well.
    CHECK(constraint->admits(constraint->shortest()));
  }
}

}  // namespace

TEST_CASE("constraint: types, enum and const") {
  check({
      {"true", {"1", "null", "[{\"a\": [true]}]", "\"x\""}, {}},
      {R"({"type": "integer"})", {"0", "-7", "1.0", "12e2", "123456789012345678"}, {"1.5", "\"1\"", "null"}},
      {R"({"type": ["string", "null"]})", {"null", "\"\""}, {"0", "[]"}},
      {R"({"enum": [1, "a", null, [2], {"b": 1.50}]})",
       {"1", "1.0", "\"a\"", "null", "[2]", R"({"b":1.5})"},
       {"2", "[]", R"({"b":1,"c":2})"}},
      {R"({"const": "é\"\\\n"})", {R"("é\"\\\n")"}, {R"("e")"}},
      {R"({"type": "string", "enum": ["a", 1]})", {"\"a\""}, {"1"}},
      {R"({"enum": [1, 2, 3], "minimum": 2})", {"2", "3"}, {"1"}},
  });
}

TEST_CASE("constraint: numbers keep bounds and multiples exactly") {
  check({
      {R"({"type": "number", "minimum": -1.5, "exclusiveMaximum": 10})",
       {"-1.5", "-1.49", "0", "9.999"},
       {"-1.51", "10", "-2"}},
      {R"({"type": "integer", "exclusiveMinimum": 3, "maximum": 120})",
       {"4", "99", "120"},
       {"3", "121", "-4", "1000"}},
      {R"({"type": "number", "multipleOf": 0.01})", {"42.1", "0.07", "-3"}, {"0.001", "1.555"}},
      {R"({"type": "integer", "multipleOf": 7, "minimum": 10})", {"14", "700"}, {"7", "15"}},
      {R"({"type": "number", "minimum": 0})", {"0", "1e-9", "6.02e23", "0.1"}, {"-1e-9", "-1"}},
      {R"({"allOf": [{"multipleOf": 2}, {"multipleOf": 3}], "type": "integer"})",
       {"0", "6", "-12"},
       {"2", "3", "4"}},
  });
  const auto price = compile(R"({"type": "number", "minimum": 0, "maximum": 100})");
  CHECK(price->admits("42.10"));
  CHECK_FALSE(price->admits("042"));
  CHECK_FALSE(price->admits("+4"));
  CHECK_FALSE(price->admits("100.01"));
  CHECK_FALSE(price->admits("4."));
  CHECK_FALSE(compile(R"({"type": "number"})")->admits("-0"));
}

TEST_CASE("constraint: strings by length, pattern and format") {
  check({
      {R"({"type": "string", "minLength": 2, "maxLength": 3})",
       {R"("ab")", R"("日本語")", R"("😀😀")"},
       {R"("a")", R"("abcd")"}},
      {R"({"type": "string", "pattern": "^[A-Z]{3}-\\d+$"})",
       {R"("ABC-1")"},
       {R"("AB-1")", R"("ABC-")", R"("xABC-1")"}},
      {R"({"pattern": "a|^b$"})", {R"("xay")", R"("b")", "7"}, {R"("bb")", R"("")"}},
      {R"({"type": "string", "pattern": "^.*$", "maxLength": 2})",
       {R"("")", R"("\"\\")"},
       {R"("abc")", R"("a\n")"}},
      {R"({"format": "date", "type": "string"})",
       {R"("2024-02-29")", R"("2000-02-29")"},
       {R"("2023-02-29")", R"("1900-02-29")", R"("2024-2-1")"}},
      {R"({"format": "time"})",
       {R"("23:59:60Z")", R"("12:00:00.5+02:00")", "1"},
       {R"("12:00:60Z")", R"("24:00:00Z")"}},
      {R"({"format": "date-time"})",
       {R"("2024-01-31T08:00:00Z")"},
       {R"("2024-01-31")", R"("2024-01-32T08:00:00Z")"}},
      {R"({"format": "email"})", {R"("a.b@example.com")"}, {R"("a..b@example.com")", R"("a@")"}},
      {R"({"format": "uuid"})",
       {R"("123e4567-e89b-12d3-a456-426614174000")"},
       {R"("123e4567e89b12d3a456426614174000")"}},
      {R"({"format": "uri"})",
       {R"("https://example.com/a?b=c#d")", R"("urn:x:1")"},
       {R"("//example.com")", R"("a b:c")"}},
  });
}

TEST_CASE("constraint: every string that JSON can hold can be produced, in UTF-8 and in escapes") {
  const auto any = compile(R"({"type": "string"})");
  for (const char* text : {R"("a\"b\\c\/d\b\f\n\r\t")", R"("é日😀")", R"("\u00e9\u65E5\ud83d\ude00")",
                           R"("\u0000\u001f")", "\"\x7f\""}) {
    INFO(text);
    CHECK(any->admits(text));
  }
  for (const char* text : {"\"\n\"", R"("\x")", R"("\u12")", R"("\ud83d")", R"("\ude00")",
                           R"("\ud83d\u0041")", "\"\xc3\"", "\"\xed\xa0\x80\"", "\"\xc0\x80\"", "\"a"}) {
    INFO(text);
    CHECK_FALSE(any->admits(text));
  }
  // Escapes count as the one character that they stand for.
  const auto one = compile(R"({"type": "string", "maxLength": 1})");
  CHECK(one->admits(R"("\ud83d\ude00")"));
  CHECK_FALSE(one->admits(R"("\n\n")"));
  // A pattern holds for what is written, however it is spelled.
  const auto accented = compile(R"({"type": "string", "pattern": "^[é-ü]$"})");
  CHECK(accented->admits("\"ö\""));
  CHECK(accented->admits(R"("\u00f6")"));
  CHECK_FALSE(accented->admits(R"("\u00e0")"));
}

TEST_CASE("constraint: objects keep the schema's order and what is required") {
  check({
      {R"({"type":"object","properties":{"b":{"type":"integer"},"a":{}},"required":["b"],"additionalProperties":false})",
       {R"({"b":1})", R"({"a":[],"b":1})"},
       {"{}", R"({"a":1})", R"({"b":1,"c":2})", R"({"b":"x"})"}},
      {R"({"type":"object","additionalProperties":{"type":"integer"}})",
       {"{}", R"({"x":1,"y":2})"},
       {R"({"x":"1"})"}},
      {R"({"type":"object","patternProperties":{"^n_":{"type":"number"}},"additionalProperties":false})",
       {R"({"n_a":1,"n_b":2})"},
       {R"({"n_a":"x"})", R"({"x":1})"}},
      {R"({"type":"object","propertyNames":{"enum":["a","b"]},"minProperties":1})",
       {R"({"b":0})", R"({"a":1,"b":2})"},
       {"{}", R"({"c":1})"}},
      {R"({"type":"object","maxProperties":1})", {"{}", R"({"a":1})"}, {R"({"a":1,"b":2})"}},
      {R"({"type":"object","properties":{"a":{},"b":{},"c":{}},"minProperties":2,"additionalProperties":false})",
       {R"({"a":1,"c":1})", R"({"b":1,"c":1})"},
       {R"({"c":1})"}},
      {R"({"type":"object","required":["z"],"properties":{"a":{"type":"null"}}})",
       {R"({"z":1})", R"({"z":1,"a":null})"},
       {R"({"a":null})"}},
  });
  const auto ordered =
      compile(R"({"type":"object","properties":{"b":{"type":"integer"},"a":{"type":"integer"}}})");
  CHECK(ordered->admits(R"({"b":1,"a":2})"));
  CHECK(ordered->admits(R"({"b": 1, "a": 2, "c": 3})"));
  CHECK_FALSE(ordered->admits(R"({"a":2,"b":1})"));
  CHECK_FALSE(ordered->admits(R"({"b":1,"b":2})"));
  CHECK_FALSE(ordered->admits(R"({"x":1,"x":2})"));
  CHECK_FALSE(ordered->admits(R"({"b":1, "a":2})"));  // one spacing throughout
  ConstraintOptions closed;
  closed.closed_objects = true;
  CHECK_FALSE(compile(R"({"type":"object","properties":{"b":{}}})", closed)->admits_value(R"({"x":1})"));
  CHECK(compile(R"({"type":"object"})", closed)->admits_value(R"({"x":1})"));
  ConstraintOptions object;
  object.require_object = true;
  CHECK_FALSE(compile(R"({"properties":{"b":{}}})", object)->admits_value("1"));
}

TEST_CASE("constraint: arrays, combinations and references") {
  check({
      {R"({"type":"array","items":{"type":"integer"},"minItems":1,"maxItems":2})",
       {"[1]", "[1,2]"},
       {"[]", "[1,2,3]", "[\"a\"]"}},
      {R"({"prefixItems":[{"type":"string"},{"type":"integer"}],"items":false,"type":"array"})",
       {"[]", "[\"a\"]", "[\"a\",1]"},
       {"[1]", "[\"a\",1,2]"}},
      {R"({"$schema":"http://json-schema.org/draft-07/schema#","items":[{"type":"string"}],"additionalItems":{"type":"null"}})",
       {"[\"a\",null,null]"},
       {"[\"a\",1]"}},
      {R"({"anyOf":[{"type":"string","maxLength":1},{"type":"integer"}]})",
       {"\"a\"", "5"},
       {"\"ab\"", "null"}},
      {R"({"oneOf":[{"type":"integer"},{"minimum":2}]})", {"1", "2.5", "\"x\""}, {"3", "1.5"}},
      {R"({"oneOf":[{"properties":{"kind":{"const":"a"},"x":{"type":"integer"}},"required":["kind"],"type":"object"},
                    {"properties":{"kind":{"const":"b"}},"required":["kind","y"],"type":"object"}]})",
       {R"({"kind":"a","x":1})", R"({"kind":"b","y":1})"},
       {R"({"kind":"a","x":"1"})", R"({"kind":"b"})", R"({"kind":"c"})"}},
      {R"({"allOf":[{"properties":{"a":{"type":"integer"}},"required":["a"]},{"properties":{"b":{"type":"string"}}}],"type":"object"})",
       {R"({"a":1,"b":"x"})", R"({"b":"x","a":1})"},
       {R"({"b":"x"})", R"({"a":1,"b":2})"}},
      {R"({"not":{"type":"object"}})", {"1", "[]"}, {"{}"}},
      {R"({"type":"string","not":{"enum":["a","b"]}})", {"\"c\"", "\"\""}, {"\"a\""}},
      {R"({"if":{"exclusiveMaximum":0},"then":{"minimum":-10},"else":{"multipleOf":2}})",
       {"-1", "-10", "4", "\"x\""},
       {"-100", "-1e2", "3"}},
      {R"({"$ref":"#/$defs/tree","$defs":{"tree":{"type":"object","properties":{"below":{"type":"array","items":{"$ref":"#/$defs/tree"}}},"additionalProperties":false}}})",
       {"{}", R"({"below":[{"below":[]},{}]})"},
       {R"({"below":[1]})", R"({"x":1})"}},
  });
}

TEST_CASE("constraint: items that must be there, and items that may not come twice") {
  check({
      {R"({"type":"array","items":{"type":["integer","null"]},"contains":{"const":7},"maxItems":3})",
       {"[7]", "[1,7]", "[7,7,null]", "[1,2,7]"},
       {"[]", "[1,2]", "[7,1,2,3]", "[\"7\",7]"}},
      {R"({"type":"array","contains":{"type":"string","minLength":2},"minContains":2})",
       {"[\"ab\",\"cd\"]", "[1,\"ab\",\"c\",[],\"cd\"]"},
       {"[\"ab\"]", "[\"ab\",\"c\",1]", "[]"}},
      {R"({"type":"array","contains":{"type":"string"},"minContains":0,"items":{"type":"null"}})",
       {"[]", "[null]"},
       {"[\"a\"]"}},
      {R"({"type":"array","items":{"enum":["a","ab",1,1.0,[2,{"k":null}]]},"uniqueItems":true,"minItems":1})",
       {"[\"a\"]", "[\"ab\",\"a\"]", "[[2,{\"k\":null}],1,\"a\",\"ab\"]"},
       {"[]", "[\"a\",\"ab\",\"a\"]", "[1,1.0]", "[\"b\"]"}},
      {R"({"type":"array","items":{"type":["boolean","null"]},"uniqueItems":true})",
       {"[]", "[true,null,false]"},
       {"[true,true]", "[1]"}},
      {R"({"type":"array","uniqueItems":true,"maxItems":1})", {"[]", "[1]"}, {"[1,2]"}},
  });
  CHECK(refusals(R"({"type":"array","items":{"enum":[1,2]},"uniqueItems":true,"minItems":3})") ==
        ": no value satisfies the schema\n");
  CHECK(refusals(R"({"type":"array","items":{"type":"null"},"contains":{"type":"string"}})") ==
        ": no value satisfies the schema\n");
}

TEST_CASE("constraint: what one key asks of others") {
  check({
      {R"({"type":"object","properties":{"a":{"type":"integer"},"b":{},"c":{}},"dependentRequired":{"a":["c"],"b":[]}})",
       {"{}", R"({"b":1})", R"({"a":1,"c":2})", R"({"a":1,"b":2,"c":3,"d":4})"},
       {R"({"a":1})", R"({"a":1,"b":2})"}},
      {R"({"type":["object","null"],"properties":{"card":{"type":"string"}},
           "dependentSchemas":{"card":{"properties":{"address":{"type":"string"}},"required":["address"]}}})",
       {"null", "{}", R"({"address":1})", R"({"card":"1","address":"x"})"},
       {R"({"card":"1"})", R"({"card":"1","address":1})"}},
      {R"({"$schema":"http://json-schema.org/draft-07/schema#","type":"object","dependencies":{"a":["b"],"b":{"maxProperties":2}}})",
       {"{}", R"({"a":1,"b":2})", R"({"b":1,"c":2})"},
       {R"({"a":1})", R"({"a":1,"b":2,"c":3})"}},
      {R"({"dependentRequired":{"a":["b"]}})", {"1", "[]", R"({"b":1})"}, {R"({"a":1})"}},
      // Values that are listed are looked at as they are.
      {R"({"enum":[{"a":1},{"a":1,"b":2},[1,1],[1]],"dependentRequired":{"a":["b"]},"uniqueItems":true,"contains":{}})",
       {R"({"a":1,"b":2})", "[1]"},
       {R"({"a":1})", "[1,1]"}},
  });
  // Closed objects take the keys that a dependency asks for, and no others.
  ConstraintOptions closed;
  closed.closed_objects = true;
  const auto constraint = compile(R"({"type":"object","dependentRequired":{"a":["b"]}})", closed);
  CHECK(constraint->admits_value(R"({"x":1})"));
  CHECK_FALSE(constraint->admits_value(R"({"a":1})"));
}

TEST_CASE("constraint: references by $id and $anchor lead to places of the same document") {
  check({
      {R"({"$id":"https://a.example/schemas/bill.json","type":"array","items":{"$ref":"line.json"},
           "$defs":{"l":{"$id":"line.json","type":"object","properties":{"n":{"$ref":"#count"}},"required":["n"],
                         "$defs":{"c":{"$anchor":"count","type":"integer"}}},
                    "s":{"$anchor":"count","type":"string"}}})",
       {"[]", R"([{"n":1}])"},
       {R"([{"n":"1"}])", "[1]"}},
      {R"({"$id":"https://a.example/b/c","items":{"$ref":"/x/../b/c#/$defs/it"},"type":"array","$defs":{"it":{"type":"null"}}})",
       {"[null]"},
       {"[1]"}},
      {R"({"$schema":"http://json-schema.org/draft-07/schema#","items":{"$ref":"#it"},"definitions":{"i":{"$id":"#it","type":"null"}}})",
       {"[null]", "1"},
       {"[1]"}},
      {R"({"$schema":"http://json-schema.org/draft-07/schema#","$id":"http://a.example/","items":{"$id":"b/","$ref":"c"},
           "definitions":{"x":{"$id":"b/c","type":"string"},"y":{"$id":"c","type":"null"}}})",
       {"[null]"},
       {"[\"a\"]"}},
      {R"({"items":{"$ref":"#/$defs/a%20b"},"type":"array","$defs":{"a b":{"type":"null"}}})",
       {"[null]"},
       {"[1]"}},
      {R"({"items":{"$ref":"#/$defs/a%25b"},"type":"array","$defs":{"a%b":{"type":"null"}}})",
       {"[null]"},
       {"[1]"}},
      // No schema, so that what looks like references is a value.
      {R"({"const":{"$ref":"#x","$id":"y"}})", {R"({"$ref":"#x","$id":"y"})"}, {"{}"}},
  });
  CHECK(refusals(R"({"$id":"https://a.example/b","items":{"$ref":"https://b.example/b"}})")
            .find("/items/$ref: 'https://b.example/b' is not supported") == 0);
  CHECK(refusals(R"({"$anchor":"a","items":{"$ref":"#b"}})").find("/items/$ref: ") == 0);
}

TEST_CASE("constraint: what is not supported is refused with its path, all of it at once") {
  CHECK(refusals(R"({"properties":{"a/b":{"maxContains":1},"c":{"frobnicate":1}}})") ==
        "/properties/a~1b/maxContains: keyword 'maxContains' is not supported: an automaton cannot look back "
        "on the items\n"
        "/properties/c/frobnicate: keyword 'frobnicate' is not known\n");
  CHECK(refusals(R"({"uniqueItems":false})").empty());
  CHECK(refusals(R"({"uniqueItems":true})").find("/uniqueItems: is not supported here") == 0);
  CHECK(refusals(R"({"properties":{"x":{"uniqueItems":true,"items":{"type":["string","null"]}}}})")
            .find("/properties/x/uniqueItems: ") == 0);
  CHECK(refusals(R"({"contains":{},"prefixItems":[{}]})").find("/contains: ") == 0);
  CHECK(refusals(R"({"allOf":[{"contains":{}},{"contains":{"type":"null"}}]})").find("/allOf/1/contains: ") ==
        0);
  CHECK(refusals(R"({"dependentRequired":{"a":"b"}})") ==
        "/dependentRequired/a: expected a list of strings\n");
  CHECK(refusals(R"({"dependentSchemas":{"a":{"$ref":"#"}}})").find("without end") != std::string::npos);
  CHECK(refusals(R"({"type":"text"})") == "/type: unknown type \"text\"\n");
  CHECK(refusals(R"({"format":"hostname"})")
            .find("/format: format 'hostname' is not supported, expected one of date") == 0);
  CHECK(refusals(R"({"pattern":"(a)\\1"})").find("/pattern: '(a)\\1' is no pattern") == 0);
  CHECK(refusals(R"-({"pattern":"(?=a)"})-").find("look-ahead is not supported") != std::string::npos);
  CHECK(refusals(R"({"$ref":"other.json"})").find("/$ref: 'other.json' is not supported") == 0);
  CHECK(refusals(R"({"$ref":"#/$defs/x"})") == "/$ref: '#/$defs/x' is not in this document\n");
  CHECK(refusals(R"({"$ref":"#"})").find("without end") != std::string::npos);
  CHECK(refusals(R"({"minLength":-1})").find("/minLength: expected a whole number") == 0);
  CHECK(refusals(R"({"nullable":true})").find("write \"type\": [\"string\", \"null\"] instead") !=
        std::string::npos);
  CHECK(refusals(R"({"oneOf":[{"required":["a"],"type":"object"},{"required":["b"],"type":"object"}]})")
            .find("/oneOf/") == 0);
  CHECK(refusals(R"({"$id":7})") == "/$id: expected a string\n");
  CHECK(refusals("{").find(": is not JSON: ") == 0);
  CHECK(refusals(R"({"type":"string","enum":[1]})") == ": no value satisfies the schema\n");
  CHECK(refusals(R"({"type":"object","properties":{"a":false},"required":["a"]})") ==
        ": no value satisfies the schema\n");
  CHECK(refusals(R"({"type":"array","minItems":1000000000})").find("the shortest value takes ") !=
        std::string::npos);
  std::string deep;
  for (int i = 0; i < 5000; ++i) deep += "{\"not\":";
  CHECK_FALSE(refusals(deep + "{}" + std::string(5000, '}')).empty());
}

TEST_CASE("constraint: choices and plain types are bare texts") {
  const std::vector<std::string> texts = {"yes", "no", "yes and no"};
  const auto choices = Constraint::choices(texts);
  for (const std::string& text : texts) CHECK(choices->admits(text));
  CHECK_FALSE(choices->admits("yes and"));
  CHECK_FALSE(choices->admits("\"yes\""));
  CHECK(choices->shortest() == "no");
  CHECK_THROWS_AS(Constraint::choices({}), ConstraintError);
  const std::vector<std::string> spaced = {" a"};
  CHECK_THROWS_AS(Constraint::choices(spaced), ConstraintError);
  const auto integer = Constraint::plain(Constraint::PlainType::integer);
  CHECK(integer->admits("-12"));
  CHECK_FALSE(integer->admits("1.5"));
  CHECK(Constraint::plain(Constraint::PlainType::number)->admits("-0.5"));
  const auto boolean = Constraint::plain(Constraint::PlainType::boolean);
  CHECK(boolean->admits("true"));
  CHECK_FALSE(boolean->admits("tru"));
}

TEST_CASE("constraint: from every place a completion is admitted and no longer than said") {
  const auto constraint = compile(R"({"type":"object","properties":{
      "s":{"type":"string","minLength":3},"d":{"type":"string","format":"date"},"n":{"type":"number","minimum":3,"multipleOf":5},
      "l":{"type":"array","items":{"anyOf":[{"type":"string"},{"type":"object","minProperties":2}]},"minItems":1},
      "e":{"enum":["long text","longer text"]},
      "u":{"type":"array","items":{"enum":["dog","a","cat"]},"uniqueItems":true,"minItems":2},
      "c":{"type":"array","contains":{"const":"found"},"minContains":2,"minItems":3}},
      "required":["s","d","n","l","e"]})");
  const constraint::Automaton& automaton = constraint->automaton();
  for (
      const std::string text :
      {R"({"s":"a\ud83d\ude00b\n","d":"2024-02-29","n":15,"l":["x",{"a":1,"":[null]}],"e":"longer text","u":["cat","dog"],"c":[1,"found","f","found"],"more":{"k":1e5}})",
       R"({"s": "abc", "d": "1999-12-31", "n": 105, "l": [{"": 0, "0": {}}], "e": "long text", "u": ["a", "dog"]})"}) {
    auto position = automaton.start();
    for (std::size_t i = 0; i <= text.size(); ++i) {
      INFO(text.substr(0, i));
      const std::string rest = automaton.complete(position);
      INFO(rest);
      CHECK(rest.size() <= automaton.rest_bytes(position));
      CHECK(automaton.may_end(automaton.next(position, rest)));
      if (const auto byte = automaton.only_byte(position); byte && i < text.size()) {
        CHECK(*byte == static_cast<unsigned char>(text[i]));
      }
      if (i < text.size()) position = automaton.next(position, static_cast<unsigned char>(text[i]));
      REQUIRE_FALSE(position.dead());
    }
  }
}

TEST_CASE("constraint: patterns mean what ECMAScript means by them") {
  const auto matches = [](const char* pattern, std::string_view text) {
    return constraint::compile_pattern(pattern).admits(text);
  };
  CHECK(matches("b", "abc"));
  CHECK(matches("^(?:a|bc)+$", "abca"));
  CHECK_FALSE(matches("^(?:a|bc)+$", "ab"));
  CHECK(matches("^a{2,3}$", "aaa"));
  CHECK_FALSE(matches("^a{2,3}$", "aaaa"));
  CHECK(matches("^a{2,}?$", "aaaaa"));
  CHECK(matches("^\\w\\W\\d\\D\\s\\S$", "a-1x y"));
  CHECK(matches("^[^\\d-]$", "é"));
  CHECK_FALSE(matches("^[^\\d-]$", "-"));
  CHECK(matches("^\\u{1F600}[\\x41\\u00e9]$", "😀é"));
  CHECK(matches("^\\ud83d\\ude00$", "😀"));
  CHECK(matches("^.$", "é"));
  CHECK_FALSE(matches("^.$", "\n"));
  CHECK(matches("(^a|b$)", "ax"));
  CHECK(matches("(^a|b$)", "xb"));
  CHECK_FALSE(matches("(^a|b$)", "xax"));
  CHECK(matches("", ""));
  CHECK(matches("^$", ""));
  CHECK_FALSE(matches("^$", "a"));
  CHECK(matches("^(?<year>\\d{4})$", "2024"));
  for (const char* wrong :
       {"(", ")", "a**", "[", "[b-a]", "a{2,1}", "\\", "\\b", "(?<=a)", "\\p{L}", "a{1001}", "\\ud83d"}) {
    INFO(wrong);
    CHECK_THROWS_AS(constraint::compile_pattern(wrong), constraint::PatternError);
  }
}

TEST_CASE("constraint: decimal numbers compare and divide exactly") {
  using constraint::Decimal;
  const auto number = [](const char* text) { return *Decimal::parse(text); };
  CHECK(compare(number("1.10"), number("1.1")) == 0);
  CHECK(compare(number("-2"), number("1e-3")) < 0);
  CHECK(compare(number("-2"), number("-2.5")) > 0);
  CHECK(compare(number("12e1"), number("1.2e2")) == 0);
  CHECK(compare(number("0"), number("-0.0")) == 0);
  CHECK(is_multiple(number("42.1"), number("0.01")));
  CHECK_FALSE(is_multiple(number("0.3"), number("0.07")));
  CHECK(is_multiple(number("1e20"), number("1024")));
  CHECK(number("-0.0500").plain() == "-0.05");
  CHECK(number("1.2e3").plain() == "1200");
  CHECK_FALSE(Decimal::parse("1."));
  CHECK_FALSE(Decimal::parse("e5"));
}
