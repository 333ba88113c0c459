#include <cmath>
#include <fstream>
#include <set>

#include "stages/language/ask.h"
#include "stages/language/caption.h"
#include "stages/language/confidence.h"
#include "stages/language/generation_params.h"
#include "stages/language/json_answer.h"
#include "stages/language/voting.h"
#include "tests/stages/language_fixture.h"
#include "tests/stages/media_fixture.h"
#include "tests/support/catch.h"

using namespace reelfolio;
using namespace reelfolio::stages;
using namespace reelfolio::stages::testing;

namespace {

using Given = std::vector<std::pair<std::string, ParamValue>>;

Given question(Given more = {}) {
  more.emplace_back("question", std::string("How many?"));
  return more;
}

Item text_item(const std::string& text) {
  auto input = std::make_shared<InputFile>();
  input->name = "notes.md";
  input->sha256 = std::string(64, 'c');
  input->media = MediaKind::text;
  auto unit = std::make_shared<Unit>();
  unit->producer = "texts";
  unit->kind = UnitKind::text;
  unit->index = 1;
  unit->text = text;
  unit->first_line = 10;
  unit->last_line = 20;
  return {input, unit, {}};
}

constexpr const char* kGoodText = "Invoice A-17 of the Blue Lamp Company";

}  // namespace

TEST_CASE("generation: sampling, stop strings and thoughts reach the request") {
  const auto stage = make_stage(ask_type(), question({{"temperature", 0.7},
                                                      {"top_k", std::int64_t{5}},
                                                      {"top_p", 0.5},
                                                      {"min_p", 0.1},
                                                      {"repetition_penalty", 1.5},
                                                      {"stop", std::vector<std::string>{"\n", "END"}},
                                                      {"thinking", true},
                                                      {"thinking_tokens", std::int64_t{20}},
                                                      {"confidence", true}}));
  const engine::Request request = stage->requests(page_item())[0];
  CHECK(request.sampling.temperature == Approx(0.7));
  CHECK(request.sampling.top_k == 5);
  CHECK(request.sampling.top_p == Approx(0.5));
  CHECK(request.sampling.min_p == Approx(0.1));
  CHECK(request.sampling.repetition_penalty == Approx(1.5));
  CHECK(request.stop == std::vector<std::string>{"\n", "END"});
  CHECK(request.thinking);
  CHECK(request.thinking_budget == 20);
  CHECK(request.log_probabilities);
}

TEST_CASE("generation: options that cannot work together are refused") {
  const auto message = [](Given given) {
    return param_error([&] { make_stage(ask_type(), question(std::move(given))); });
  };
  CHECK(message({{"thinking_tokens", std::int64_t{20}}}) == "thinking_tokens: needs thinking: true");
  CHECK(message({{"thinking", true}, {"thinking_tokens", std::int64_t{64}}})
            .find("leaves nothing for the answer") != std::string::npos);
  CHECK(message({{"samples", std::int64_t{3}}}).find("samples: needs a temperature above 0") == 0);
  CHECK(message({{"stop", std::vector<std::string>{""}}}) == "stop: a text is empty");
  CHECK(message({{"type", std::string("integer")}, {"stop", std::vector<std::string>{"x"}}})
            .find("stop: does not go together with choices or a type") == 0);
  CHECK(message({{"choices", std::vector<std::string>{"a", "b"}}, {"type", std::string("integer")}}) ==
        "type: choices and type are both given; keep one of them");
  CHECK(message({{"choices", std::vector<std::string>{"a", " a"}}}) == "choices: 'a' is given twice");
  CHECK(message({{"choices", std::vector<std::string>{"a"}}}) == "choices: expected two choices or more");
}

TEST_CASE("generation: thoughts are written unless they are not wanted") {
  engine::Answer thoughtful = answer("two");
  thoughtful.thinking = "hm";
  const engine::Answer answers[] = {thoughtful};
  const auto with = make_stage(ask_type(), question({{"thinking", true}}));
  CHECK(with->result(page_item(), answers).dump() ==
        R"({"text":"two","thinking":"hm","finish_reason":"stop"})");
  const auto without = make_stage(ask_type(), question({{"thinking", true}, {"keep_thinking", false}}));
  CHECK(without->result(page_item(), answers).dump() == R"({"text":"two","finish_reason":"stop"})");
}

TEST_CASE("samples: as many requests with seeds of their own, the most frequent answer wins") {
  const auto stage = make_stage(ask_type(), question({{"temperature", 1.0}, {"samples", std::int64_t{4}}}));
  const auto requests = stage->requests(page_item());
  REQUIRE(requests.size() == 4);
  std::set<std::uint64_t> seeds;
  for (const engine::Request& request : requests) seeds.insert(request.sampling.seed);
  CHECK(seeds.size() == 4);
  const auto one = make_stage(ask_type(), question({{"temperature", 1.0}}));
  CHECK(one->requests(page_item())[0].sampling.seed == requests[0].sampling.seed);

  const engine::Answer answers[] = {answer("Three"), answer("two", engine::FinishReason::length),
                                    answer(" Two. "), answer("four")};
  CHECK(
      stage->result(page_item(), answers).dump() ==
      R"({"text":"two","votes":[{"text":"two","count":2},{"text":"Three","count":1},{"text":"four","count":1}],)"
      R"("finish_reason":"length"})");
}

TEST_CASE("samples: of equally frequent answers the earlier wins") {
  const std::vector<std::string> answers = {"b", "a", "A", "B"};
  const auto ballots = count_votes(answers);
  REQUIRE(ballots.size() == 2);
  CHECK(ballots[0].first == 0);
  CHECK(ballots[0].count == 2);
  CHECK(vote_key("\"Yes\".") == vote_key("yes"));
  CHECK(vote_key(".") == ".");
}

TEST_CASE("samples: those of several questions stay with their questions") {
  const TextMap two = {{"a", "A?"}, {"b", "B?"}};
  const auto stage =
      make_stage(ask_type(), {{"questions", two}, {"temperature", 1.0}, {"samples", std::int64_t{2}}});
  REQUIRE(stage->requests(page_item()).size() == 4);
  const engine::Answer answers[] = {answer("1"), answer("1"), answer("2"), answer("2")};
  const Json result = stage->result(page_item(), answers);
  CHECK(result["a"]["text"] == "1");
  CHECK(result["b"]["text"] == "2");
}

TEST_CASE("ask: types give values, and say in the prompt what they want") {
  const TextMap questions = {{"n", "How many?"}, {"p", "Where?"}, {"x", "Who?"}};
  const TextMap types = {{"n", "integer"}, {"p", "indoors | outdoors"}};
  const auto stage = make_stage(ask_type(), {{"questions", questions}, {"types", types}});
  const auto requests = stage->requests(page_item());
  CHECK(prompt_of(requests[0]) == "How many?\nAnswer with a whole number, in digits.");
  CHECK(prompt_of(requests[1]) == "Where?\nAnswer with one of these: indoors, outdoors.");
  CHECK(prompt_of(requests[2]) == "Who?\nAnswer with a word or a short phrase.");
  const engine::Answer answers[] = {answer("12"), answer("indoors"), answer("7")};
  CHECK(
      stage->result(page_item(), answers).dump() ==
      R"({"n":{"text":"12","value":12,"finish_reason":"stop"},"p":{"text":"indoors","finish_reason":"stop"},)"
      R"("x":{"text":"7","finish_reason":"stop"}})");
  const auto message = [&](const TextMap& wrong) {
    return param_error([&] { make_stage(ask_type(), {{"questions", questions}, {"types", wrong}}); });
  };
  CHECK(message({{"m", "integer"}}).find("types: there is no question 'm'") == 0);
  CHECK(message({{"n", "intger"}}).find("types: 'intger' is no type") == 0);
  CHECK(message({{"n", "a | | b"}}) == "types: a choice is empty");
}

TEST_CASE("page: text, picture or both, and a picture where the text is no good") {
  const auto parts = [](const char* page, const Item& item) {
    const auto stage = make_stage(ask_type(), question({{"page", std::string(page)}}));
    return stage->requests(item)[0].messages.back().parts;
  };
  const Item good = page_item(kGoodText);
  CHECK(parts("image", good).size() == 2);
  CHECK(parts("both", good).size() == 2);
  REQUIRE(parts("text", good).size() == 1);
  const std::string shown = std::get<engine::TextPart>(parts("text", good)[0]).text;
  CHECK(shown.find(kGoodText) < shown.find("How many?"));
  CHECK(std::get<engine::TextPart>(parts("image", good)[1]).text.find("Invoice") == std::string::npos);
  for (const Item& item :
       {page_item(), page_item("12"), page_item("\uE001\uE002\uE003\uE004 abcdefghijklmnopqrst")}) {
    CHECK(parts("text", item).size() == 2);
    CHECK(std::get<engine::TextPart>(parts("both", item)[1]).text.starts_with("How many?"));
  }
}

TEST_CASE("page: text that the template shows already is not shown twice") {
  const auto stage = make_stage(
      ask_type(), question({{"page", std::string("text")}, {"prompt", std::string("<{text}> {question}")}}));
  CHECK(prompt_of(stage->requests(page_item(kGoodText))[0]) == std::string("<") + kGoodText + "> How many?");
}

TEST_CASE("texts: are asked about without pictures") {
  const auto stage = make_stage(
      ask_type(), question({{"prompt", std::string("{question} ({text.first_line}-{text.last_line})")}}));
  const auto request = stage->requests(text_item("short"))[0];
  REQUIRE(request.messages.back().parts.size() == 1);
  CHECK(prompt_of(request) == "Text of the document:\n\nshort\n\nHow many? (10-20)");
}

TEST_CASE("examples: solved ones come first, with their pictures, for the question they answer") {
  const MediaFolder folder;
  folder.write("one.ppm", "P3 2 1 255  1 2 3  40 50 60\n");
  folder.write("ex.json", R"([
    {"images": ["one.ppm"], "answers": {"n": "two", "m": 3}},
    {"text": "a page", "prompt": "What now?", "answer": {"a": 1}}])");
  StageContext context;
  context.graph_folder = folder.path("");
  const TextMap questions = {{"n", "N?"}, {"q", "Q?"}};
  const auto stage = make_stage(
      ask_type(),
      {{"questions", questions}, {"examples", std::string("ex.json")}, {"system", std::string("S")}},
      context);
  const auto requests = stage->requests(page_item());
  const auto& messages = requests[0].messages;
  REQUIRE(messages.size() == 6);
  CHECK(messages[0].role == engine::Role::system);
  CHECK(std::get<engine::ImagePart>(messages[1].parts[0]).image->width == 2);
  CHECK(std::get<engine::TextPart>(messages[1].parts[1]).text.starts_with("N?"));
  CHECK(messages[2].role == engine::Role::model);
  CHECK(std::get<engine::TextPart>(messages[2].parts[0]).text == "two");
  CHECK(std::get<engine::TextPart>(messages[3].parts[0]).text ==
        "Text of the document:\n\na page\n\nWhat now?");
  CHECK(std::get<engine::TextPart>(messages[4].parts[0]).text == R"({"a":1})");
  CHECK(requests[1].messages.size() == 4);

  // A changed picture changes what the graph's fingerprint covers.
  const std::string before = stage->fingerprint();
  folder.write("one.ppm", "P3 2 1 255  9 2 3  40 50 60\n");
  const auto changed =
      make_stage(ask_type(), {{"questions", questions}, {"examples", std::string("ex.json")}}, context);
  CHECK_FALSE(before.empty());
  CHECK(changed->fingerprint() != before);
}

TEST_CASE("examples: mistakes are named with the example") {
  const MediaFolder folder;
  StageContext context;
  context.graph_folder = folder.path("");
  const auto message = [&](const std::string& json) {
    folder.write("ex.json", json);
    return param_error([&] { make_stage(caption_type(), {{"examples", std::string("ex.json")}}, context); });
  };
  const auto has = [&](const std::string& json, const std::string& words) {
    CAPTURE(json);
    return message(json).find(words) != std::string::npos;
  };
  CHECK(has("{", "is no JSON list of examples"));
  CHECK(has("[1]", "example 1: is no object"));
  CHECK(
      has(R"([{"answer": "x"}, {"anser": "x"}])", "example 2: unknown key 'anser'; did you mean 'answer'?"));
  CHECK(has("[{}]", "expected either 'answer' or 'answers'"));
  CHECK(has(R"([{"answer": "x", "images": ["none.png"]}])", "none.png: "));
  CHECK(has(R"([{"answer": "x", "text": 1}])", "'text' is number, expected a text"));
  CHECK(message(R"([{"answer": "x"}])").empty());
}

TEST_CASE("system and prompt may stand in files") {
  const MediaFolder folder;
  folder.write("s.txt", "Be brief.\n");
  StageContext context;
  context.graph_folder = folder.path("");
  const auto request = make_stage(ask_type(), question({{"system_file", std::string("s.txt")}}), context)
                           ->requests(page_item())[0];
  CHECK(std::get<engine::TextPart>(request.messages[0].parts[0]).text == "Be brief.\n");
  CHECK(param_error([&] {
          make_stage(ask_type(),
                     question({{"system_file", std::string("s.txt")}, {"system", std::string("x")}}),
                     context);
        }) == "system_file: system and system_file are both given; keep one of them");
}

TEST_CASE("confidence: the geometric mean over the tokens that touch a value, forced ones aside") {
  engine::Answer given = answer(R"(x {"a": "yes", "b": [12, null], "c~": {}})");
  const std::string_view text = given.text;
  const auto token = [&](std::string_view part, std::optional<double> probability) {
    const std::size_t begin = text.find(part);
    std::optional<float> log;
    if (probability) log = static_cast<float>(std::log(*probability));
    given.tokens.push_back({begin, begin + part.size(), log});
  };
  token(R"({"a": )", std::nullopt);
  token("\"y", 0.5);
  token("es\"", 0.125);
  token("12", 0.9);
  token("null", std::nullopt);
  std::string_view where;
  REQUIRE(json_object_in(given.text, &where));
  CHECK(confidence_of_fields(given, where).dump() == R"({"/a":0.25,"/b/0":0.9,"/b/1":1.0})");
  CHECK(confidence_of(given.tokens, 0, text.size()) == Approx(std::cbrt(0.5 * 0.125 * 0.9)).margin(0.0001));
}
