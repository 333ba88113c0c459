#include "stages/language/extract.h"
#include "stages/language/json_answer.h"
#include "tests/stages/language_fixture.h"
#include "tests/support/catch.h"
#include "tests/support/temp_folder.h"

using namespace reelfolio;
using namespace reelfolio::stages;
using namespace reelfolio::stages::testing;

namespace {

/// A folder with s.json.
struct SchemaFolder {
  SchemaFolder() {
    folder.write("s.json", R"({"type":"object","required":["number","total"],
      "properties":{"number":{"type":"string"},"total":{"type":["number","null"]}}})");
    context.graph_folder = folder.path();
  }
  reelfolio::test::TempFolder folder;
  StageContext context;
};

std::string result_of(const std::string& text, engine::FinishReason reason = engine::FinishReason::stop) {
  const SchemaFolder folder;
  const auto stage = make_stage(extract_type(), {{"schema", std::string("s.json")}}, folder.context);
  const engine::Answer answers[] = {answer(text, reason)};
  return stage->result(page_item(), answers).dump();
}

}  // namespace

TEST_CASE("extract: the prompt holds the schema's sketch after the pictures") {
  const SchemaFolder folder;
  const auto stage = make_stage(extract_type(), {{"schema", std::string("s.json")}}, folder.context);
  const auto request = stage->requests(page_item())[0];
  CHECK(std::holds_alternative<engine::ImagePart>(request.messages[0].parts[0]));
  CHECK(prompt_of(request).find("{\n  \"number\": string,\n  \"total\": number | null\n}") !=
        std::string::npos);
  CHECK(request.max_tokens == 1024);
}

TEST_CASE("extract: {schema} stands where a template of the user's puts it") {
  const SchemaFolder folder;
  const auto stage = make_stage(
      extract_type(), {{"schema", std::string("s.json")}, {"prompt", std::string("<{schema}> {page.text}")}},
      folder.context);
  const std::string prompt = prompt_of(stage->requests(page_item("{schema}"))[0]);
  CHECK(prompt.starts_with("<{\n"));
  CHECK(prompt.ends_with("}> {schema}"));
}

TEST_CASE("extract: a valid answer gives its value in the schema's order") {
  CHECK(result_of(R"({"total": 42.1, "number": "A-17"})") ==
        R"({"value":{"number":"A-17","total":42.1},"valid":true,"finish_reason":"stop"})");
}

TEST_CASE("extract: a code fence and words around the object are tolerated") {
  const std::string expected = R"({"value":{"number":"A","total":null},"valid":true,"finish_reason":"stop"})";
  CHECK(result_of("```json\n{\"number\": \"A\", \"total\": null}\n```") == expected);
  CHECK(result_of("Here it is: {\"number\": \"A\", \"total\": null} as {asked}.") == expected);
  CHECK(result_of("{so} {\"number\": \"A\", \"total\": null}") == expected);
}

TEST_CASE("extract: an answer that does not fit the schema says why") {
  const std::string text = result_of(R"({"number": 17, "total": 1})");
  CHECK(text.starts_with(R"({"value":{"number":17,"total":1},"valid":false,"errors":["/number: )"));
  CHECK(text.ends_with(R"(],"finish_reason":"stop"})"));
}

TEST_CASE("extract: an answer that is cut off is null, with the text kept") {
  CHECK(
      result_of(R"({"number": "A)", engine::FinishReason::length) ==
      R"({"value":null,"valid":false,"errors":["the answer holds no complete JSON object"],"text":"{\"number\": \"A","finish_reason":"length"})");
  CHECK(result_of("").find(R"("value":null,"valid":false)") != std::string::npos);
}

TEST_CASE("extract: braces inside strings do not end the object") {
  CHECK(json_object_in(R"(x {"a":"}{\"","b":[{"c":1}]} y)")->dump() == R"({"a":"}{\"","b":[{"c":1}]})");
}

TEST_CASE("extract: hostile answers hold no object and cost little") {
  CHECK_FALSE(json_object_in(std::string(200000, '{')));
  CHECK_FALSE(json_object_in("[1, 2]"));
  CHECK_FALSE(json_object_in("{\"a\":1e999}"));
  std::string deep;
  for (int i = 0; i < 10000; ++i) deep += "{\"a\":";
  CHECK_FALSE(json_object_in(deep + "1" + std::string(10000, '}')));
}

TEST_CASE("extract: a schema that is missing or wrong is refused when the graph is built") {
  const SchemaFolder folder;
  folder.folder.write("bad.json", R"({"type":"object","properties":{"a":{"typ":"string"}}})");
  const auto message = [&](const char* file) {
    return param_error([&] { make_stage(extract_type(), {{"schema", std::string(file)}}, folder.context); });
  };
  CHECK(message("none.json").find("schema: ") == 0);
  CHECK(message("none.json").find("none.json: no such file or directory") != std::string::npos);
  CHECK(message("bad.json")
            .find("bad.json#/properties/a: keyword 'typ' is not supported; did you mean 'type'?") !=
        std::string::npos);
}

namespace {

/// The results of pages 1, 2, ... for these answers, and what they come to together.
Json merged_of(const std::vector<std::string>& texts, std::vector<std::pair<std::string, ParamValue>> given) {
  const SchemaFolder folder;
  given.emplace_back("schema", std::string("s.json"));
  const auto stage = make_stage(extract_type(), given, folder.context);
  std::vector<Json> results;
  for (const std::string& text : texts) {
    const engine::Answer answers[] = {answer(text)};
    results.push_back(stage->result(page_item(), answers));
  }
  std::vector<UnitValue> values;
  for (std::size_t i = 0; i < results.size(); ++i) {
    auto unit = std::make_shared<Unit>();
    unit->kind = UnitKind::page;
    unit->index = static_cast<int>(i);
    unit->number = unit->index + 1;
    values.push_back({unit, &results[i]});
  }
  return stage->merged(values);
}

}  // namespace

TEST_CASE("extract: with merge the whole input has a value, with pages as evidence") {
  const std::vector<std::string> pages = {R"({"number": "A", "total": null})", "nothing",
                                          R"({"number": "B", "total": 42.1})",
                                          R"({"number": "B", "total": 7})"};
  CHECK(merged_of(pages, {{"merge", std::string("first")}, {"merge_fields", TextMap{{"number", "vote"}}}})
            .dump() ==
        R"({"value":{"number":"B","total":42.1},"valid":true,"evidence":{"number":[3,4],"total":[3]},)"
        R"("conflicts":{"number":[{"value":"A","pages":[1]},{"value":"B","pages":[3,4]}],)"
        R"("total":[{"value":42.1,"pages":[3]},{"value":7,"pages":[4]}]}})");
  CHECK(merged_of(pages, {}).is_null());
  CHECK(merged_of({"none", "at all"}, {{"merge", std::string("vote")}}).dump() ==
        R"({"value":null,"valid":false,"errors":["no part of the input gave a valid value"]})");
}

TEST_CASE("extract: rules for fields need a rule for the rest") {
  CHECK_THROWS_WITH(merged_of({}, {{"merge_fields", TextMap{{"number", "vote"}}}}),
                    "needs merge, the rule for the other fields");
  CHECK_THROWS_WITH(
      merged_of({}, {{"merge", std::string("first")}, {"merge_fields", TextMap{{"nummer", "vote"}}}}),
      "the schema has no field 'nummer'; did you mean 'number'?");
}

TEST_CASE("extract: texts are looked up in the page's words, unless that is not wanted") {
  const SchemaFolder folder;
  Item item = page_item("Invoice A-17");
  auto unit = std::make_shared<Unit>(*item.unit);
  unit->words = {{"Invoice", 10, 20, 60, 30}, {"A-17", 70, 20, 90, 30}};
  item.unit = unit;
  const engine::Answer answers[] = {answer(R"({"number": "A-17", "total": 1})")};
  CHECK(make_stage(extract_type(), {{"schema", std::string("s.json")}}, folder.context)
            ->result(item, answers)
            .dump() ==
        R"({"value":{"number":"A-17","total":1},"valid":true,)"
        R"("grounding":{"/number":{"grounded":true,"boxes_px":[[70,20,90,30]]}},"finish_reason":"stop"})");
  CHECK_FALSE(
      make_stage(extract_type(), {{"schema", std::string("s.json")}, {"grounding", false}}, folder.context)
          ->result(item, answers)
          .contains("grounding"));
}

TEST_CASE("extract: of several samples each field takes the most frequent value") {
  const SchemaFolder folder;
  const auto stage = make_stage(
      extract_type(), {{"schema", std::string("s.json")}, {"temperature", 1.0}, {"samples", std::int64_t{4}}},
      folder.context);
  CHECK(stage->requests(page_item()).size() == 4);
  const engine::Answer answers[] = {answer(R"({"number": "A", "total": 1})"),
                                    answer(R"({"number": "B", "total": 2})"),
                                    answer(R"({"number": "C", "total": 2})"), answer("cut off {")};
  CHECK(
      stage->result(page_item(), answers).dump() ==
      R"({"value":{"number":"A","total":2},"valid":true,"agreement":{"number":0.25,"total":0.5},"finish_reason":"stop"})");
  const engine::Answer none[] = {answer("a"), answer("b"), answer("c"), answer("d")};
  CHECK(stage->result(page_item(), none)["valid"] == false);
}
