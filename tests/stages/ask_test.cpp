#include <set>

#include "stages/language/ask.h"
#include "tests/stages/language_fixture.h"
#include "tests/support/catch.h"

using namespace reelfolio;
using namespace reelfolio::stages;
using namespace reelfolio::stages::testing;

namespace {

const TextMap kTwo = {{"people", "How many people are visible?"}, {"page", "What is on page {page.number}?"}};

}  // namespace

TEST_CASE("ask: one request for each question, with the same pictures first") {
  const auto stage = make_stage(ask_type(), {{"questions", kTwo}});
  const Item item = page_item();
  const auto requests = stage->requests(item);
  REQUIRE(requests.size() == 2);
  for (const auto& request : requests) {
    const auto& parts = request.messages.back().parts;
    REQUIRE(parts.size() == 2);
    CHECK(std::get<engine::ImagePart>(parts[0]).image == item.pictures[0].image);
  }
  CHECK(prompt_of(requests[0]) == "How many people are visible?\nAnswer with a word or a short phrase.");
  CHECK(prompt_of(requests[1]) == "What is on page 3?\nAnswer with a word or a short phrase.");
}

TEST_CASE("ask: answers stand under their names in the graph's order") {
  const auto stage = make_stage(ask_type(), {{"questions", kTwo}});
  const engine::Answer answers[] = {answer("two"), answer("a table", engine::FinishReason::length)};
  CHECK(
      stage->result(page_item(), answers).dump() ==
      R"({"people":{"text":"two","finish_reason":"stop"},"page":{"text":"a table","finish_reason":"length"}})");
}

TEST_CASE("ask: a single question gives its answer as the result") {
  const auto stage = make_stage(ask_type(), {{"question", std::string("Why?")}});
  REQUIRE(stage->requests(page_item()).size() == 1);
  const engine::Answer answers[] = {answer("because")};
  CHECK(stage->result(page_item(), answers).dump() == R"({"text":"because","finish_reason":"stop"})");
}

TEST_CASE("ask: the prompt template decides where the question stands") {
  const auto stage = make_stage(
      ask_type(), {{"question", std::string("Why?")}, {"prompt", std::string("Q: {question} A:")}});
  CHECK(prompt_of(stage->requests(page_item())[0]) == "Q: Why? A:");
}

TEST_CASE("ask: the seeds of a unit's questions differ and do not depend on their order") {
  const TextMap swapped = {kTwo[1], kTwo[0]};
  const auto stage = make_stage(ask_type(), {{"questions", kTwo}, {"temperature", 1.0}});
  const auto other = make_stage(ask_type(), {{"questions", swapped}, {"temperature", 1.0}});
  const auto a = stage->requests(page_item());
  const auto b = other->requests(page_item());
  CHECK(a[0].sampling.seed != a[1].sampling.seed);
  CHECK(a[0].sampling.seed == b[1].sampling.seed);
}

TEST_CASE("ask: questions that cannot work are refused when the graph is built") {
  const auto message = [](std::vector<std::pair<std::string, ParamValue>> given) {
    return param_error([&] { make_stage(ask_type(), given); });
  };
  CHECK(message({}).find("questions: is missing") == 0);
  CHECK(message({{"questions", TextMap{}}}) == "questions: is empty, expected at least one question");
  CHECK(message({{"questions", kTwo}, {"question", std::string("x")}}) ==
        "question: question and questions are both given; keep one of them");
  CHECK(message({{"questions", TextMap{{"a", " "}}}}) == "questions: 'a' is empty");
  CHECK(message({{"questions", TextMap{{"", "x"}}}}) == "questions: a question has an empty name");
  CHECK(
      message({{"questions", TextMap{{"a", "{nope}"}}}}).find("questions: line 1, column 1: unknown name") ==
      0);
  CHECK(message({{"questions", kTwo}, {"prompt", std::string("no place")}}) ==
        "prompt: the template does not contain {question}");
}
