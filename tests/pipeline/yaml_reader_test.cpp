#include "pipeline/yaml_reader.h"

#include <random>

#include "tests/support/catch.h"

using namespace reelfolio::pipeline;

namespace {

std::string reading_error(std::string_view yaml) {
  try {
    read_yaml(yaml, "g.yaml");
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

const SpecValue& at(const SpecValue& map, const std::string& key) {
  for (const auto& entry : std::get<SpecValue::Map>(map.data)) {
    if (entry.key == key) return entry.value;
  }
  throw std::runtime_error("no key " + key);
}

std::string text(const SpecValue& value) {
  return std::get<SpecValue::Scalar>(value.data).text;
}

}  // namespace

TEST_CASE("yaml: values keep their place, in characters, and their quotes") {
  const SpecValue root = read_yaml("a: 12\nb: \"12\"\nüü: [x, {y: z}]\n", "g.yaml");
  CHECK(text(at(root, "a")) == "12");
  CHECK_FALSE(std::get<SpecValue::Scalar>(at(root, "a").data).quoted);
  CHECK(std::get<SpecValue::Scalar>(at(root, "b").data).quoted);
  const auto& list = std::get<SpecValue::List>(at(root, "üü").data);
  CHECK(list[0].where.line == 3);
  CHECK(list[0].where.column == 6);
  CHECK(text(at(list[1], "y")) == "z");
  CHECK(at(list[1], "y").where.column == 13);
}

TEST_CASE("yaml: a byte order mark and CR LF change no place") {
  const SpecValue root = read_yaml(
      "\xEF\xBB\xBF"
      "a: 1\r\nb: 2\r\n",
      "g.yaml");
  CHECK(text(at(root, "a")) == "1");
  CHECK(at(root, "b").where.line == 2);
  CHECK(at(root, "b").where.column == 4);
}

TEST_CASE("yaml: every escape of a character gives UTF-8") {
  const SpecValue root = read_yaml(R"({a: "x\N\_y", b: "\x85\u00a0", "\N": 1})", "g.yaml");
  CHECK(text(at(root, "a")) == "x\xC2\x85\xC2\xA0y");
  CHECK(text(at(root, "b")) == "\xC2\x85\xC2\xA0");
  CHECK(text(at(root, "\xC2\x85")) == "1");
}

TEST_CASE("yaml: a value left out has the place of its key") {
  const SpecValue root = read_yaml("a:\n\n\nb: ~\n", "g.yaml");
  CHECK(std::holds_alternative<std::monostate>(at(root, "a").data));
  CHECK(at(root, "a").where.line == 1);
}

TEST_CASE("yaml: aliases and merge keys expand, written keys win") {
  const SpecValue root = read_yaml("base: &b {x: 1, y: 2}\nc: {<<: *b, y: 3}\nd: *b\n", "g.yaml");
  CHECK(text(at(at(root, "c"), "x")) == "1");
  CHECK(text(at(at(root, "c"), "y")) == "3");
  CHECK(text(at(at(root, "d"), "y")) == "2");
  CHECK(at(at(root, "d"), "y").where.line == 1);
}

TEST_CASE("yaml: each refusal names its place") {
  CHECK(reading_error("a: 1\nb: 2\na: 3\n") == "g.yaml:3:1: key 'a' stands twice, first in line 1");
  CHECK(reading_error("a: {b: 1, b: 2}") == "g.yaml:1:11: key 'b' stands twice, first in line 1");
  CHECK(reading_error("a: \xff") == "g.yaml:1:4: byte 0xff is not UTF-8");
  CHECK(reading_error("ü: \xc3(") == "g.yaml:1:4: byte 0xc3 is not UTF-8");
  CHECK(reading_error("a: 1\nb: \xed\xa0\x80\n") == "g.yaml:2:4: byte 0xed is not UTF-8");
  CHECK(reading_error(std::string("a: 1\nb: x\0y", 11)) ==
        "g.yaml:2:5: control character 0x00 is not allowed");
  CHECK(reading_error("a: \x04") == "g.yaml:1:4: control character 0x04 is not allowed");
  CHECK(reading_error("a: 1\n---\nb: 2\n") == "g.yaml:2:1: a second document starts here, expected one");
  CHECK(reading_error("[a, b]: 1") == "g.yaml:1:1: a list cannot be a key (or a bracket is left open)");
  CHECK(reading_error("? {a: b}\n: 1") == "g.yaml:1:3: a map cannot be a key (or a brace is left open)");
  CHECK(reading_error("~: 1") == "g.yaml:1:1: a key has no name");
  CHECK(reading_error("a: !!python/object x") ==
        "g.yaml:1:4: tag 'tag:yaml.org,2002:python/object' is not supported");
  CHECK(reading_error("a: &x [*x]") == "g.yaml:1:8: an alias stands inside its own anchor");
  CHECK(reading_error("a: [1, 2\nb: 3").find("g.yaml:2:") == 0);
  CHECK(reading_error("a: 'x").find("not valid YAML: ") != std::string::npos);
  CHECK(reading_error("a: {<<: 3}") == "g.yaml:1:9: '<<' merges maps, and this is none");
}

TEST_CASE("yaml: deep nesting, long text and alias bombs are bounded") {
  CHECK(reading_error(std::string(100'000, '[')).find("g.yaml:1:") == 0);
  CHECK(reading_error(std::string(25, '[') + std::string(25, ']')) ==
        "g.yaml:1:25: maps and lists nest deeper than 24 levels");
  std::string deep;
  for (int i = 0; i < 1000; ++i) deep += "- ";
  CHECK(reading_error(deep).find("nest deeper than 24 levels") != std::string::npos);
  CHECK(reading_error(std::string(300'000, ' ')) ==
        "g.yaml: longer than 262144 bytes, the most that is read");
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 10; ++i) {
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
    for (int k = 0; k < 10; ++k) bomb += (k > 0 ? ", *a" : "*a") + std::to_string(i - 1);
    bomb += "]\n";
  }
  CHECK(reading_error(bomb).find("more than 50000 values, counting each alias in full") != std::string::npos);
  std::string tower = "a0: &a0 [x]\n";
  for (int i = 1; i < 40; ++i) {
    tower += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [*a" + std::to_string(i - 1) + "]\n";
  }
  CHECK(reading_error(tower).find("nest deeper than 24 levels") != std::string::npos);
}

TEST_CASE("yaml: whatever the text, there is an answer or a ConfigError") {
  std::mt19937 random(7);
  const std::string_view pieces[] = {
      "a: ", "- ", "[",   "]",    "{", "}",   ",",     "\n",    "  ",   "&a ",         "*a", "? ",  ": ",
      "'",   "\"", "|\n", ">-\n", "#", "!t ", "---\n", "...\n", "<<: ", "%YAML 1.2\n", "~",  "\\x", "x"};
  int answered = 0;
  for (int round = 0; round < 5000; ++round) {
    std::string yaml;
    for (auto k = random() % 20; k > 0; --k) yaml += pieces[random() % std::size(pieces)];
    try {
      read_yaml(yaml, "g.yaml");
      ++answered;
    } catch (const ConfigError& error) {
      INFO(yaml);
      CHECK(std::string(error.what()).compare(0, 6, "g.yaml") == 0);
    }
  }
  CHECK(answered > 100);
}
