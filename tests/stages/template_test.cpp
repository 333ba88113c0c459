#include <array>

#include "stages/decimal.h"
#include "stages/language/prompt_template.h"
#include "tests/stages/language_fixture.h"
#include "tests/support/catch.h"

using namespace reelfolio::stages;
using namespace reelfolio::stages::testing;

namespace {

std::string render(std::string_view text, const Item& item) {
  return PromptTemplate::compile(text, {}).render(item);
}

}  // namespace

TEST_CASE("template: names of the input are its file name, its stem and its path as named") {
  CHECK(render("{input.name}|{input.stem}|{input.path}", page_item()) ==
        "bill.v2.pdf|bill.v2|inbox/bill.v2.pdf");
}

TEST_CASE("template: an input name without folder or dot is its own stem") {
  Item item = page_item();
  auto input = std::make_shared<InputFile>(*item.input);
  input->name = "README";
  item.input = input;
  CHECK(render("{input.name}|{input.stem}", item) == "README|README");
  input->name = "a/.hidden";
  CHECK(render("{input.name}|{input.stem}", item) == ".hidden|.hidden");
}

TEST_CASE("template: scene times are rounded to the millisecond") {
  CHECK(render("{scene.index}: {scene.start}-{scene.end} s, {frames.count} at {frames.times}",
               scene_item()) == "3: 12.345-15.682 s, 2 at 13.1, 14.9");
}

TEST_CASE("template: page names render number, index and text layer") {
  CHECK(render("{page.number}/{page.index}: {page.text}", page_item("Total 42")) == "3/2: Total 42");
}

TEST_CASE("template: a value that this unit lacks renders as nothing") {
  CHECK(render("[{page.text}]", page_item()) == "[]");
  CHECK(render("[{page.number}{page.text}{image.index}]", scene_item()) == "[]");
}

TEST_CASE("template: doubled braces are braces") {
  CHECK(render("{{\"a\": {page.number}}}", page_item()) == "{\"a\": 3}");
  CHECK(render(escape_template("{x} }{ {{"), page_item()) == "{x} }{ {{");
}

TEST_CASE("template: values are inserted once and never read as a template") {
  CHECK(render("{page.text}", page_item("{input.path} {{ } {nonsense}")) == "{input.path} {{ } {nonsense}");
}

TEST_CASE("template: an unknown name is refused with its place and the nearest name") {
  const auto message = [](std::string_view text) {
    return param_error([&] { (void)PromptTemplate::compile(text, {}); });
  };
  CHECK(message("Read\nä {page.nmber}") ==
        "prompt: line 2, column 3: unknown name 'page.nmber' in the template; did you mean 'page.number'?");
  CHECK(message("{}").find("line 1, column 1: unknown name ''") != std::string::npos);
  CHECK(message("say {\"a\": 1}").find("written twice, '{{'") != std::string::npos);
  CHECK(message("a } b").find("line 1, column 3: '}' without '{'") != std::string::npos);
  CHECK(message("a {page.text").find("line 1, column 3: '{' is not closed") != std::string::npos);
}

TEST_CASE("template: a name that no unit of the stage can have is refused when it is compiled") {
  const std::array scenes = {ItemType::frames};
  const std::array both = {ItemType::frames, ItemType::page};
  const auto compile = [](std::string_view text, std::span<const ItemType> receives) {
    return param_error([&] { (void)PromptTemplate::compile(text, {.receives = receives}); });
  };
  CHECK(
      compile("{page.text}", scenes) ==
      "prompt: line 1, column 1: 'page.text' never has a value here: the stage receives scenes with frames");
  CHECK(compile("{page.text}", both).empty());
  CHECK(compile("{input.name}{scene.start}", scenes).empty());
  CHECK(compile("{page.text}", {}).empty());
}

TEST_CASE("template: extra names are known only where they are given") {
  const std::array<std::string_view, 1> extra = {"question"};
  const auto compiled = PromptTemplate::compile("{question}?", {.extra = extra});
  CHECK(compiled.uses("question"));
  CHECK_FALSE(compiled.uses("page.text"));
  CHECK(compiled.render(page_item(), {{"question", "{page.number}"}}) == "{page.number}?");
  CHECK(param_error([] {
          (void)PromptTemplate::compile("{question}", {});
        }).find("unknown name 'question'") != std::string::npos);
}

TEST_CASE("decimal: times are the shortest decimals of whole milliseconds, without exponent") {
  CHECK(milliseconds_text(0) == "0");
  CHECK(milliseconds_text(-0.0001) == "0");
  CHECK(milliseconds_text(12.0) == "12");
  CHECK(milliseconds_text(13.1) == "13.1");
  CHECK(milliseconds_text(0.001) == "0.001");
  CHECK(milliseconds_text(9007199254740991.0) == "9007199254740991");
  CHECK(milliseconds_text(-1e20) == "-100000000000000000000");
  CHECK(milliseconds_text(100000.0) == "100000");
  CHECK(milliseconds_text(1.9996) == "2");
  CHECK(milliseconds_text(-1.25) == "-1.25");
  CHECK(milliseconds_text(86399.9994) == "86399.999");
}
