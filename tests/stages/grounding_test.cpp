#include "stages/language/grounding.h"

#include "tests/stages/language_fixture.h"
#include "tests/support/catch.h"

using namespace reelfolio::stages;

namespace {

/// A page whose words stand ten pixels apart from the left, on one line.
Unit page(const std::vector<std::string>& words) {
  Unit unit;
  unit.kind = UnitKind::page;
  unit.text = "";
  int left = 0;
  for (const std::string& word : words) {
    unit.words.push_back({word, left, 0, left + 8, 5});
    *unit.text += word + " ";
    left += 10;
  }
  return unit;
}

std::string found(const std::string& value, const Unit& unit) {
  return grounding_of(Json::parse(value), unit).dump();
}

}  // namespace

TEST_CASE("grounding: texts are found with the boxes of their words") {
  const Unit unit = page({"Invoice", "A-17", "Blue", "Lamp", "Ltd."});
  CHECK(found(R"({"number": "A-17", "seller": {"name": "Blue  lamp"}, "lines": ["Ltd"], "total": 5})",
              unit) == R"({"/number":{"grounded":true,"boxes_px":[[10,0,18,5]]},)"
                       R"("/seller/name":{"grounded":true,"boxes_px":[[20,0,28,5],[30,0,38,5]]},)"
                       R"("/lines/0":{"grounded":true,"boxes_px":[[40,0,48,5]]}})");
}

TEST_CASE("grounding: what does not stand on the page is not found, empty texts do not count") {
  const Unit unit = page({"Total", "2013"});
  CHECK(found(R"({"a": "1", "b": "201", "c": "", "d": "Sum", "e": "Total 2013 x", "f~/g": "2013"})", unit) ==
        R"({"/a":{"grounded":false},"/b":{"grounded":false},"/d":{"grounded":false},"/e":{"grounded":false},)"
        R"("/f~0~1g":{"grounded":true,"boxes_px":[[10,0,18,5]]}})");
}

TEST_CASE("grounding: a later occurrence counts where the first is within a word") {
  CHECK(found(R"({"a": "13"})", page({"2013", "13"})) ==
        R"({"/a":{"grounded":true,"boxes_px":[[10,0,18,5]]}})");
  CHECK(found(R"({"a": "42.10"})", page({"EUR42.10"})) == R"({"/a":{"grounded":false}})");
  CHECK(found(R"({"a": "42.10"})", page({"\u20AC42.10"})) ==
        R"({"/a":{"grounded":true,"boxes_px":[[0,0,8,5]]}})");
}

TEST_CASE("grounding: ligatures, dashes, quotes and case are compared in plain form") {
  const Unit unit = page({"O\uFB03ce", "2019\u20132020", "\u201CX\u201D", "\u00DCBER"});
  for (const char* text : {"office", "2019-2020", "\\\"x\\\"", "\u00FCber"}) {
    CAPTURE(text);
    CHECK(found(std::string(R"({"a": ")") + text + "\"}", unit).find(R"("grounded":true)") !=
          std::string::npos);
  }
}

TEST_CASE("grounding: texts are searched without boxes, and units without text not at all") {
  Unit text;
  text.kind = UnitKind::text;
  text.text = "The quick\nbrown fox";
  CHECK(found(R"({"a": "quick brown", "b": "slow"})", text) ==
        R"({"/a":{"grounded":true},"/b":{"grounded":false}})");
  Unit scan;
  scan.kind = UnitKind::page;
  CHECK(grounding_of(Json::parse(R"({"a": "x"})"), scan).is_null());
}
