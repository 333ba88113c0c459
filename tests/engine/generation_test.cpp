#include "engine/generation.h"

#include <cmath>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/config.h"
#include "engine/engine.h"
#include "engine/error.h"
#include "engine/tokenizer.h"
#include "tests/support/catch.h"
#include "tests/support/golden_kit.h"

namespace {

using namespace reelfolio::engine;

std::filesystem::path model_dir() {
  return reelfolio::test::golden_kits("text").front() / "model";
}

/// What a generation needs, without a model: the test is the model.
struct Fixture {
  Tokenizer tokenizer = Tokenizer::load(model_dir());
  ModelConfig config = load_model_config(model_dir());
  ChannelTokens channel{tokenizer.id(control::kChannelBegin), tokenizer.id(control::kChannelEnd)};
  Grammars grammars{tokenizer};

  GenerationModel model() { return {tokenizer, config, channel, grammars}; }
  TokenId stop_id() const { return config.generation.eos_token_ids.front(); }

  /// Logits that prefer one token, and then lower ids to higher ones.
  std::vector<float> prefer(TokenId id) const {
    std::vector<float> logits(config.text.vocab_size);
    for (std::size_t i = 0; i < logits.size(); ++i) logits[i] = -static_cast<float>(i) * 1e-3F;
    logits[static_cast<std::size_t>(id)] = 50;
    return logits;
  }

  struct Run {
    Answer answer;
    int asked = 0;
  };
  /// Runs to the end with logits that prefer `wanted` in turn, then the stop token.
  Run run(const Request& request, const std::vector<TokenId>& wanted, std::size_t positions = 100000) {
    Generation generation(model(), request, {});
    Run result;
    std::optional<FinishReason> reason;
    for (std::size_t i = 0; !reason; ++i) {
      auto logits = prefer(i < wanted.size() ? wanted[i] : stop_id());
      ++result.asked;
      reason = generation.advance(logits, positions);
      positions -= std::min(positions, generation.next().size());
      REQUIRE(i < 10000);
    }
    generation.finish(result.answer);
    result.answer.finish_reason = *reason;
    return result;
  }
  /// The text of an answer by a model that means to say `text`, whatever is forced on it.
  std::string say(const Request& request, const std::string& text) {
    Generation generation(model(), request, {});
    std::string said;
    for (std::optional<FinishReason> reason; !reason;) {
      const bool is_done = said.size() >= text.size();
      auto logits = prefer(is_done ? stop_id() : ids(text.substr(said.size())).front());
      reason = generation.advance(logits, 1000);
      for (const TokenId id : generation.next()) said += tokenizer.token_bytes(id);
    }
    Answer answer;
    generation.finish(answer);
    return answer.text;
  }
  std::vector<TokenId> ids(const std::string& text) const { return tokenizer.encode(text); }
};

Request request(int max_tokens = 200) {
  Request made;
  made.messages = {
      {Role::user, {TextPart{"Describe the invoice in the picture, please, and be brief about it."}}}};
  made.max_tokens = max_tokens;
  return made;
}

Request constrained(const std::string& schema, int max_tokens = 200) {
  Request made = request(max_tokens);
  made.constraint = Constraint::json_schema(schema);
  return made;
}

constexpr const char* kForm =
    R"({"type":"object","properties":{"name":{"type":"string"},"paid":{"type":"boolean"}},
  "required":["name","paid"],"additionalProperties":false})";

}  // namespace

TEST_CASE(
    "generation: under a constraint the likeliest allowed token is taken and forced ones cost no question") {
  Fixture fixture;
  const auto run = fixture.run(constrained(kForm), {});
  CHECK(constrained(kForm).constraint->admits(run.answer.text));
  CHECK(run.answer.finish_reason ==
        FinishReason::length);  // lower ids first: the string never ends by itself
  CHECK(run.answer.generated_tokens <= 200);
  CHECK(run.answer.forced_tokens > 0);

  const auto fixed = fixture.run(constrained(R"({"const":"abc"})"), {});
  CHECK(fixed.answer.text == "\"abc\"");
  CHECK(fixed.answer.finish_reason == FinishReason::stop);
  CHECK(fixed.answer.forced_tokens == fixed.answer.generated_tokens);
  CHECK(fixed.asked == 1);
}

TEST_CASE("generation: an answer is never cut off, down to the fewest tokens that hold one") {
  Fixture fixture;
  const Request made = constrained(kForm);
  const int least = static_cast<int>(fixture.ids(made.constraint->shortest()).size());
  for (int most = least; most < least + 12; ++most) {
    Request tight = made;
    tight.max_tokens = most;
    check_generation(tight, fixture.model(), 100000);
    const auto run = fixture.run(tight, fixture.ids(R"({"name": "a long name that goes on and on)"));
    INFO(most << ": " << run.answer.text);
    CHECK(made.constraint->admits(run.answer.text));
    CHECK(run.answer.generated_tokens <= most);
  }
  Request tight = made;
  tight.max_tokens = least - 1;
  CHECK_THROWS_WITH(check_generation(tight, fixture.model(), 100000),
                    "max_tokens is " + std::to_string(least - 1) +
                        ", the shortest answer that the constraint admits takes " + std::to_string(least));
  CHECK_THROWS_AS(check_generation(made, fixture.model(), static_cast<std::size_t>(least) - 1), RequestError);
  // The context's end counts like max_tokens.
  const auto full =
      fixture.run(made, fixture.ids(R"({"name": "a long name)"), static_cast<std::size_t>(least) + 3);
  CHECK(made.constraint->admits(full.answer.text));
}

TEST_CASE("generation: choices and plain types end where the model stops or nothing is left") {
  Fixture fixture;
  Request made = request();
  const std::vector<std::string> texts = {"red", "green", "red and green"};
  made.constraint = Constraint::choices(texts);
  CHECK(fixture.say(made, "green") == "green");
  CHECK(fixture.say(made, "red") == "red");
  CHECK(fixture.say(made, "red and green") == "red and green");
  made.constraint = Constraint::plain(Constraint::PlainType::integer);
  CHECK(fixture.say(made, "42") == "42");
}

TEST_CASE("generation: a thought ends with its budget, and the constraint begins behind it") {
  Fixture fixture;
  REQUIRE(fixture.channel.begin);
  REQUIRE(fixture.channel.end);
  std::vector<TokenId> wanted = {*fixture.channel.begin};
  for (const TokenId id : fixture.ids("thought\nlet me see what this is and then think about it some more"))
    wanted.push_back(id);
  Request made = constrained(R"({"enum":["yes","no"]})");
  made.thinking = true;
  made.thinking_budget = 6;
  const auto run = fixture.run(made, wanted);
  CHECK(made.constraint->admits(run.answer.text));
  REQUIRE(run.answer.thinking);
  CHECK_FALSE(run.answer.thinking->empty());
  std::string budget;
  for (std::size_t i = 1; i <= 6; ++i) budget += fixture.tokenizer.token_bytes(wanted[i]);
  CHECK(budget.find(*run.answer.thinking) != std::string::npos);

  // Without a constraint the answer begins when the budget is spent.
  Request free = request();
  free.thinking = true;
  free.thinking_budget = 4;
  std::vector<TokenId> longer = wanted;
  longer.resize(5);
  longer.push_back(fixture.stop_id());  // not looked at: the channel is closed
  for (const TokenId id : fixture.ids("done")) longer.push_back(id);
  const auto spent = fixture.run(free, longer);
  CHECK(spent.answer.text == "done");
  CHECK(spent.answer.thinking.has_value());

  // Tokens are kept back for the answer, and an end of the turn within a thought does not lose it.
  Request tight = made;
  tight.thinking_budget.reset();
  tight.max_tokens = 12;
  CHECK(made.constraint->admits(fixture.run(tight, wanted).answer.text));
  CHECK(made.constraint->admits(fixture.run(made, {*fixture.channel.begin}).answer.text));
}

TEST_CASE("generation: the text ends in front of a stop string, and what might begin one is held back") {
  Fixture fixture;
  Request made = request();
  made.stop = {"\n\n", "END"};
  std::string shown;
  Generation generation(fixture.model(), made, [&](std::string_view piece) { shown += piece; });
  std::optional<FinishReason> reason;
  for (const TokenId id : fixture.ids("one EN two END three")) {
    auto logits = fixture.prefer(id);
    reason = generation.advance(logits, 1000);
    CHECK(shown.find("END") == std::string::npos);
    if (reason) break;
  }
  REQUIRE(reason);
  CHECK(*reason == FinishReason::stop);
  Answer answer;
  generation.finish(answer);
  CHECK(answer.text == "one EN two");
  CHECK(shown == answer.text);
  CHECK(answer.stopped_at == "END");
  CHECK_FALSE(fixture.run(made, fixture.ids("one EN")).answer.stopped_at);
  CHECK(fixture.run(made, fixture.ids("one EN")).answer.text == "one EN");
}

TEST_CASE("generation: log probabilities cover the text, token by token") {
  Fixture fixture;
  Request made = request();
  made.log_probabilities = true;
  const std::string text = "  a few words";
  const auto run = fixture.run(made, fixture.ids(text));
  CHECK(run.answer.text == "a few words");
  REQUIRE(run.answer.tokens.size() == fixture.ids(text).size());
  std::size_t end = 0;
  for (const AnswerToken& token : run.answer.tokens) {
    CHECK(token.begin == end);
    end = token.end;
    REQUIRE(token.log_probability);
    CHECK(*token.log_probability <= 0.0F);
    CHECK(*token.log_probability > -0.01F);  // logits of 50 against less than 1
  }
  CHECK(end == run.answer.text.size());
  made.constraint = Constraint::json_schema(R"({"const":"abc"})");
  for (const AnswerToken& token : fixture.run(made, {}).answer.tokens) CHECK_FALSE(token.log_probability);
}

TEST_CASE("generation: options without meaning are refused") {
  Fixture fixture;
  const auto refused = [&](auto change) {
    Request made = request();
    change(made);
    CHECK_THROWS_AS(check_generation(made, fixture.model(), 1000), RequestError);
  };
  refused([](Request& r) { r.max_tokens = 0; });
  refused([](Request& r) { r.sampling.temperature = -1; });
  refused([](Request& r) { r.sampling.temperature = NAN; });
  refused([](Request& r) { r.sampling.min_p = 1.5F; });
  refused([](Request& r) { r.sampling.repetition_penalty = 0; });
  refused([](Request& r) { r.thinking_budget = -1; });
  refused([](Request& r) { r.stop = {""}; });
  refused([](Request& r) {
    r.stop = {"x"};
    r.constraint = Constraint::plain(Constraint::PlainType::integer);
  });
}

TEST_CASE(
    "generation: in a model, constrained answers do not depend on company or threads, and samples share a "
    "prefill") {
  EngineOptions options;
  options.weights = ops::WeightType::f32;
  options.threads = 1;
  const auto engine = Engine::load(model_dir(), options);
  std::vector<Request> requests;
  for (int i = 0; i < 5; ++i) {
    Request made = i == 4 ? request(20) : constrained(kForm, 40);
    made.sampling.temperature = 1.0F;
    made.sampling.min_p = 0.02F;
    made.sampling.repetition_penalty = 1.2F;
    made.sampling.seed = static_cast<std::uint64_t>(i);
    requests.push_back(made);
  }
  const auto together = engine->answer(requests);
  options.threads = 2;
  const auto two = Engine::load(model_dir(), options);
  bool differ = false;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    CHECK(engine->answer({&requests[i], 1}).at(0).text == together[i].text);
    CHECK(two->answer({&requests[i], 1}).at(0).text == together[i].text);
    if (i < 4) CHECK(requests[i].constraint->admits(together[i].text));
    if (i > 0) CHECK(together[i].shared_prompt_tokens > 0);
    differ = differ || together[i].text != together[0].text;
  }
  CHECK(differ);
  CHECK(engine->stats().forced_tokens > 0);
  CHECK(engine->stats().masked_tokens > 0);
}
