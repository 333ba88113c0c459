#include "stages/language/merge_values.h"

#include "stages/error.h"
#include "tests/stages/language_fixture.h"
#include "tests/support/catch.h"

using namespace reelfolio::stages;
using namespace reelfolio::stages::testing;

namespace {

const JsonSchema& schema() {
  static const JsonSchema parsed = JsonSchema::parse(R"({"type": "object", "properties": {
    "number": {"type": ["string", "null"]},
    "total": {"type": ["number", "null"]},
    "seller": {"type": "object", "properties": {"name": {"type": "string"}, "city": {"type": "string"}}},
    "lines": {"type": "array", "items": {"type": "object", "properties": {"item": {"type": "string"}}}},
    "tags": {"type": "array", "uniqueItems": true, "items": {"type": "string"}}}})",
                                                     "s.json", "schema");
  return parsed;
}

/// Merges values of pages 1, 2, ...
ValueMerge::Result merged(MergeRule rule, const std::vector<const char*>& pages, const TextMap& fields = {}) {
  std::vector<Json> values;
  for (const char* page : pages) values.push_back(Json::parse(page));
  std::vector<ValueMerge::Source> sources;
  for (std::size_t i = 0; i < values.size(); ++i) sources.push_back({static_cast<int>(i) + 1, &values[i]});
  return ValueMerge(schema(), rule, fields, "merge_fields").merge(sources);
}

}  // namespace

TEST_CASE("merge: first takes the first page that has the field, with all pages that agree as evidence") {
  const auto result =
      merged(MergeRule::first, {R"({"total": null, "number": " "})", R"({"number": "A  17", "total": 42.1})",
                                R"({"total": 43, "number": "A 17"})"});
  CHECK(result.value.dump() == R"({"number":"A  17","total":42.1})");
  CHECK(result.evidence.dump() == R"({"number":[2,3],"total":[2]})");
  CHECK(result.conflicts.dump() == R"({"total":[{"value":42.1,"pages":[2]},{"value":43,"pages":[3]}]})");
}

TEST_CASE("merge: a field that no page has keeps what the first page says of it") {
  const auto result =
      merged(MergeRule::vote, {R"({"total": null, "lines": []})", R"({"total": null, "lines": []})"});
  CHECK(result.value.dump() == R"({"total":null,"lines":[]})");
  CHECK(result.evidence.empty());
  CHECK(result.conflicts.empty());
}

TEST_CASE("merge: longest counts characters and items, not bytes") {
  const auto result =
      merged(MergeRule::longest, {R"({"number": "ÄÖÜ", "lines": [{}]})",
                                  R"({"number": "abcd", "lines": [{}, {}]})", R"({"number": "efgh"})"});
  CHECK(result.value.dump() == R"({"number":"abcd","lines":[{},{}]})");
}

TEST_CASE("merge: vote takes the most frequent value, of equally frequent ones the earlier") {
  CHECK(merged(MergeRule::vote, {R"({"total": 1})", R"({"total": 2})", R"({"total": 2})"}).value.dump() ==
        R"({"total":2})");
  const auto tie =
      merged(MergeRule::vote, {R"({"total": 3})", R"({"total": 2})", R"({"total": 2})", R"({"total": 3})"});
  CHECK(tie.value.dump() == R"({"total":3})");
  CHECK(tie.evidence.dump() == R"({"total":[1,4]})");
}

TEST_CASE("merge: lists are joined in page order, and only they") {
  const auto result = merged(
      MergeRule::list, {R"({"lines": [{"item": "a"}, {"item": "b"}], "total": 1, "tags": ["x", "y"]})",
                        R"({"lines": []})", R"({"lines": [{"item": "b"}], "total": 2, "tags": ["y", "z"]})"});
  CHECK(result.value.dump() ==
        R"({"total":1,"lines":[{"item":"a"},{"item":"b"},{"item":"b"}],"tags":["x","y","z"]})");
  CHECK(result.evidence.dump() == R"({"total":[1],"lines":[1,3],"tags":[1,3]})");
  CHECK(result.conflicts.contains("total"));
  CHECK_FALSE(result.conflicts.contains("lines"));
}

TEST_CASE("merge: fields of objects within are fields of their own, and rules may differ") {
  const auto result = merged(
      MergeRule::first,
      {R"({"seller": {"name": "A", "city": "B"}, "total": 1})",
       R"({"seller": {"name": "Abc", "city": "Bcd"}, "total": 2})", R"({"total": 2, "more/less": true})"},
      {{"seller/name", "longest"}, {"total", "vote"}});
  CHECK(result.value.dump() == R"({"total":2,"seller":{"name":"Abc","city":"B"},"more/less":true})");
  CHECK(result.evidence.dump() == R"({"total":[2,3],"seller/name":[2],"seller/city":[1],"more~1less":[3]})");
}

TEST_CASE("merge: rules that cannot work are refused") {
  const auto message = [](const TextMap& fields) {
    return param_error([&] { ValueMerge(schema(), MergeRule::first, fields, "merge_fields"); });
  };
  CHECK(message({{"totl", "vote"}}) == "merge_fields: the schema has no field 'totl'; did you mean 'total'?");
  CHECK(message({{"seller/nam", "vote"}}) ==
        "merge_fields: the schema has no field 'seller/nam'; did you mean 'seller/name'?");
  CHECK(message({{"total", "lst"}}).find("'total' is 'lst', expected first, longest, list or vote") !=
        std::string::npos);
  CHECK(message({{"number", "list"}}) ==
        "merge_fields: 'number' is no list in the schema, expected first, longest or vote");
  CHECK(message({{"", "vote"}}).find("the schema has no field ''") != std::string::npos);
  CHECK(message({{"lines", "list"}, {"seller", "vote"}}).empty());
}
