#include "engine/engine.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "engine/answer_builder.h"
#include "engine/config.h"
#include "engine/error.h"
#include "engine/prefix_tree.h"
#include "engine/sampling/sampler.h"
#include "engine/soft_token_cache.h"
#include "engine/text/decoder.h"
#include "engine/tokenizer.h"
#include "tests/support/catch.h"
#include "tests/support/golden_kit.h"

namespace {

using namespace reelfolio::engine;

std::filesystem::path model_dir() {
  return reelfolio::test::golden_kits("text").front() / "model";
}

/// One thread by default: on matrices as small as these a second one costs more than it gives.
std::unique_ptr<Engine> load(ops::WeightType weights = ops::WeightType::f32, int threads = 1) {
  EngineOptions options;
  options.weights = weights;
  options.threads = threads;
  return Engine::load(model_dir(), options);
}

Request ask(const std::string& question, int max_tokens = 24) {
  Request request;
  request.messages = {{Role::user, {TextPart{question}}}};
  request.max_tokens = max_tokens;
  return request;
}

std::shared_ptr<const RgbImage> picture(int width, int height, int seed) {
  auto image = std::make_shared<RgbImage>();
  image->width = width;
  image->height = height;
  for (int i = 0; i < width * height * 3; ++i) {
    image->pixels.push_back(static_cast<std::uint8_t>((i * 7 + i / 50 * seed) % 251));
  }
  return image;
}

Request look(std::shared_ptr<const RgbImage> image, const std::string& question, int max_tokens = 12) {
  Request request;
  request.messages = {{Role::user, {ImagePart{std::move(image), 70}, TextPart{question}}}};
  request.max_tokens = max_tokens;
  return request;
}

bool same(const Answer& a, const Answer& b) {
  return a.text == b.text && a.thinking == b.thinking && a.finish_reason == b.finish_reason &&
         a.prompt_tokens == b.prompt_tokens && a.generated_tokens == b.generated_tokens;
}

}  // namespace

TEST_CASE("engine: a question is answered with what greedy decoding of its rendered prompt makes") {
  const auto engine = load();
  const Request request = ask("What is the total of the invoice?", 30);
  const Answer answer = engine->answer({&request, 1}).at(0);

  // The same by hand: render, tokenise, run the decoder, take the likeliest token.
  const Tokenizer& tokenizer = engine->tokenizer();
  auto ids = tokenizer.encode(render_chat(request.messages, {}, {}));
  CHECK(answer.prompt_tokens == static_cast<int>(ids.size()));
  const ModelConfig config = load_model_config(model_dir());
  const Checkpoint checkpoint = Checkpoint::open(model_dir());
  text::TextDecoder decoder(config, checkpoint, ops::WeightType::f32);
  text::KvCache cache = decoder.make_cache();
  AnswerBuilder builder(tokenizer, {tokenizer.id("<|channel>"), tokenizer.id("<channel|>")}, {});
  std::vector<TokenId> next = ids;
  MatrixBuffer logits;
  int made = 0;
  FinishReason reason = FinishReason::length;
  while (made < request.max_tokens) {
    MatrixBuffer inputs(next.size(), config.text.hidden_size);
    decoder.embed(next, inputs.view());
    const text::SequenceStep step{&cache, inputs.view(), next, text::LogitRows::last};
    decoder.forward({&step, 1}, logits);
    next = {sampling::greedy(logits.row(0))};
    const auto& stops = config.generation.eos_token_ids;
    if (std::find(stops.begin(), stops.end(), next[0]) != stops.end()) {
      reason = FinishReason::stop;
      break;
    }
    builder.push(next[0]);
    ++made;
  }
  Answer expected;
  builder.finish(expected);
  CHECK(answer.text == expected.text);
  CHECK_FALSE(answer.text.empty());
  CHECK(answer.generated_tokens == made);
  CHECK(answer.finish_reason == reason);
  CHECK(engine->stats().prefill_tokens == ids.size());
}

TEST_CASE("engine: an answer is the same alone and in company, with and without shared prefixes") {
  for (const auto weights :
       {ops::WeightType::f32, ops::WeightType::bf16, ops::WeightType::int8, ops::WeightType::int4}) {
    const auto engine = load(weights);
    const std::string page(300, 'x');
    const auto image = picture(90, 60, 3);
    std::vector<Request> requests = {ask(page + " one?"),
                                     ask(page + " two, and more?"),
                                     ask("short"),
                                     ask(page + " one?"),
                                     look(image, "what is it?"),
                                     look(image, "and where, on the left?"),
                                     look(picture(64, 64, 5), "what is it?")};
    requests[1].sampling = {1.0F, 64, 0.95F, 7};
    for (int i = 0; i < 20; ++i) requests.push_back(ask("question number " + std::to_string(i), 5 + i % 4));
    std::vector<std::string> streamed(requests.size());
    const auto together = engine->answer(
        requests, {}, [&](std::size_t request, std::string_view text) { streamed.at(request) += text; });
    REQUIRE(together.size() == requests.size());
    for (std::size_t i = 0; i < requests.size(); ++i) {
      INFO("request " << i);
      const Answer alone = load(weights, i == 7 ? 2 : 1)->answer({&requests[i], 1}).at(0);
      CHECK(same(together[i], alone));
      CHECK(alone.shared_prompt_tokens == 0);
      CHECK(streamed[i] == together[i].text);
    }
    CHECK(together[0].shared_prompt_tokens + together[1].shared_prompt_tokens > 100);
    CHECK(together[4].shared_prompt_tokens + together[5].shared_prompt_tokens > 40);
    CHECK(together[6].shared_prompt_tokens == 0);
    // Two pictures, three requests.
    CHECK(engine->stats().images == 2);
    // The picture is remembered while it lives.
    const Request again = look(image, "once more");
    engine->answer({&again, 1});
    CHECK(engine->stats().images == 2);
  }
}

namespace {

/// Groups that become available one by one, each when `begin_after` sets have been dealt with.
class TestSource : public RequestSource {
 public:
  struct Planned {
    std::vector<std::vector<Request>> sets;
    std::size_t begin_after = 0;
  };
  explicit TestSource(std::vector<Planned> plan) : plan_(std::move(plan)), answers(plan_.size()) {
    for (std::size_t i = 0; i < plan_.size(); ++i) answers[i].resize(plan_[i].sets.size());
  }
  std::optional<RequestGroup> next(bool idle) override {
    if (given_ == plan_.size() || (!idle && dealt_with < plan_[given_].begin_after)) return std::nullopt;
    open += plan_[given_].sets.size();
    most_open = std::max(most_open, open);
    const std::size_t index = given_++;
    return RequestGroup{index, plan_[index].sets};
  }
  void answered(std::uint64_t group, std::size_t set, std::vector<Answer> all) override {
    CHECK(answers.at(group).at(set).empty());
    answers.at(group).at(set) = std::move(all);
    ++dealt_with;
    --open;
  }
  void refused(std::uint64_t group, std::size_t set, std::size_t request, const RequestError&) override {
    refusals.push_back({group, set, request});
    ++dealt_with;
    --open;
  }

 private:
  std::vector<Planned> plan_;
  std::size_t given_ = 0;

 public:
  std::vector<std::vector<std::vector<Answer>>> answers;
  std::vector<std::array<std::size_t, 3>> refusals;
  std::size_t dealt_with = 0, open = 0, most_open = 0;
};

}  // namespace

TEST_CASE("engine: groups that join and leave at any time get the answers they get alone") {
  const auto image = picture(90, 60, 3);
  std::vector<TestSource::Planned> plan;
  plan.push_back({{{ask(std::string(700, 'y') + " what?", 9)}, {ask("short", 3), ask("shorter", 14)}}, 0});
  plan.push_back({{{look(image, "what is it?")}, {look(image, "where?"), look(image, "and why?")}}, 1});
  for (int i = 0; i < 12; ++i)
    plan.push_back({{{ask("question " + std::to_string(i), 2 + i % 5)}}, 1U + i / 2});
  plan[5].sets[0][0].sampling = {1.0F, 64, 0.95F, 7};
  for (const auto weights : {ops::WeightType::f32, ops::WeightType::bf16, ops::WeightType::int8}) {
    const auto engine = load(weights);
    std::vector<std::vector<std::vector<Answer>>> alone;
    for (const auto& planned : plan) {
      alone.emplace_back();
      for (const auto& set : planned.sets) {
        alone.back().emplace_back();
        for (const Request& request : set) alone.back().back().push_back(engine->answer({&request, 1}).at(0));
      }
    }
    struct Case {
      ServeOptions options;
      std::size_t at_least;  ///< sets that are seen open together
    };
    for (const Case& each : {Case{{1, std::uint64_t{1} << 40}, 1}, Case{{4, std::uint64_t{1} << 40}, 3},
                             Case{{16, std::uint64_t{1} << 40}, 4}, Case{{16, 1}, 4}}) {
      TestSource source(plan);
      engine->serve(source, each.options);
      CHECK(source.refusals.empty());
      CHECK(source.open == 0);
      CHECK(source.most_open >= each.at_least);
      for (std::size_t g = 0; g < plan.size(); ++g) {
        for (std::size_t s = 0; s < plan[g].sets.size(); ++s) {
          INFO("group " << g << " set " << s << " batch " << each.options.max_sequences);
          REQUIRE(source.answers[g][s].size() == alone[g][s].size());
          for (std::size_t i = 0; i < alone[g][s].size(); ++i) {
            CHECK(same(source.answers[g][s][i], alone[g][s][i]));
            CHECK(source.answers[g][s][i].compute_s > 0);
          }
        }
      }
    }
  }
}

TEST_CASE("engine: a request that cannot be answered costs its set and nothing else") {
  const auto engine = load();
  TestSource source({{{{ask("one", 4)}, {ask("two", 4), ask("none", 0)}}, 0},
                     {{{Request{}}}, 0},
                     {{{look(nullptr, "no picture")}, {ask("three", 4)}}, 0}});
  engine->serve(source, {});
  CHECK(source.refusals == std::vector<std::array<std::size_t, 3>>{{0, 1, 1}, {1, 0, 0}, {2, 0, 0}});
  const Request one = ask("one", 4);
  CHECK(same(source.answers[0][0].at(0), engine->answer({&one, 1}).at(0)));
  const Request three = ask("three", 4);
  CHECK(same(source.answers[2][1].at(0), engine->answer({&three, 1}).at(0)));
}

TEST_CASE("engine: what cannot be answered is refused before any work") {
  const auto engine = load();
  const auto refuse = [&](const Request& request) {
    const std::vector<Request> both = {ask("fine"), request};
    CHECK_THROWS_AS(engine->answer(both), RequestError);
  };
  refuse(Request{});
  refuse(ask("no tokens", 0));
  refuse(look(nullptr, "no picture"));
  refuse(look(picture(0, 5, 1), "no pixels"));
  auto truncated = std::make_shared<RgbImage>(*picture(20, 20, 1));
  truncated->pixels.pop_back();
  refuse(look(truncated, "a byte is missing"));
  Request budget = look(picture(20, 20, 1), "unknown budget");
  std::get<ImagePart>(budget.messages[0].parts[0]).soft_tokens = 71;
  refuse(budget);
  for (const SamplingOptions& bad : {SamplingOptions{-1.0F, 0, 1.0F, 0}, SamplingOptions{1.0F, -1, 1.0F, 0},
                                     SamplingOptions{1.0F, 0, 0.0F, 0}, SamplingOptions{1.0F, 0, 1.5F, 0}}) {
    Request request = ask("sampling");
    request.sampling = bad;
    refuse(request);
  }
  std::string endless;
  while (endless.size() < 4 * engine->config().text.max_position_embeddings) endless += "q%";
  refuse(ask(endless));
  CHECK(engine->stats().prefill_tokens == 0);
  CHECK(engine->stats().images == 0);
}

TEST_CASE("engine: a requested stop ends with what there is") {
  const auto engine = load();
  std::stop_source stop;
  const std::vector<Request> requests = {ask("one", 200), ask("two", 200)};
  const auto answers =
      engine->answer(requests, stop.get_token(), [&](std::size_t, std::string_view) { stop.request_stop(); });
  for (const Answer& answer : answers) {
    CHECK(answer.finish_reason == FinishReason::cancelled);
    CHECK(answer.generated_tokens < 200);
  }
  const auto none = engine->answer(requests, stop.get_token());
  CHECK(none[0].finish_reason == FinishReason::cancelled);
  CHECK(none[0].text.empty());
}

TEST_CASE("engine: seeds repeat, other seeds differ, the fingerprint names the model") {
  const auto engine = load();
  Request request = ask("say something", 30);
  request.sampling = {1.5F, 0, 1.0F, 1};
  Request other = request;
  other.sampling.seed = 2;
  const std::vector<Request> requests = {request, request, other};
  const auto answers = engine->answer(requests);
  CHECK(same(answers[0], answers[1]));
  CHECK(answers[0].text != answers[2].text);
  CHECK(engine->fingerprint().size() == 64);
  CHECK(engine->fingerprint() == load(ops::WeightType::bf16)->fingerprint());
  CHECK(finish_reason_name(FinishReason::repetition) == "repetition");
}

TEST_CASE("answer builder: thoughts are kept apart, space at the ends goes, pieces add up") {
  const Tokenizer tokenizer = Tokenizer::load(model_dir());
  const ChannelTokens channel{tokenizer.id("<|channel>"), tokenizer.id("<channel|>")};
  REQUIRE(channel.begin);
  REQUIRE(channel.end);
  std::string streamed;
  AnswerBuilder builder(tokenizer, channel, [&](std::string_view piece) { streamed += piece; });
  const auto push = [&](const std::string& text) {
    for (const TokenId id : tokenizer.encode(text)) builder.push(id);
  };
  builder.push(*channel.begin);
  push("thought\nlet me see ");
  builder.push(*channel.end);
  push("\n\n The  answer\nis 5. \n");
  Answer answer;
  builder.finish(answer);
  CHECK(answer.text == "The  answer\nis 5.");
  CHECK(streamed == answer.text);
  REQUIRE(answer.thinking);
  CHECK(*answer.thinking == "let me see");
}

TEST_CASE("prefix tree: stretches are shared from the minimum on, each prompt keeps its last position") {
  using Keys = std::vector<std::uint64_t>;
  const std::vector<Keys> prompts = {{1, 2, 3, 4, 5}, {1, 2, 3, 4, 5}, {1, 2, 3, 9}, {1, 7, 8}, {1, 2, 3, 4}};
  for (const std::size_t minimum : {1, 2, 3, 9}) {
    INFO("minimum " << minimum);
    const auto nodes = build_prefix_tree(prompts, minimum);
    std::vector<int> leaves(prompts.size(), 0);
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      const PrefixNode& node = nodes[i];
      CHECK(node.begin < node.end);
      if (!node.leaf) CHECK(node.end - node.begin >= minimum);
      if (node.parent == PrefixNode::kNone) {
        CHECK(node.begin == 0);
      } else {
        REQUIRE(node.parent < i);
        const PrefixNode& parent = nodes[node.parent];
        CHECK_FALSE(parent.leaf);
        CHECK(node.begin == parent.end);
        const Keys& mine = prompts[node.request];
        const Keys& its = prompts[parent.request];
        CHECK(std::equal(mine.begin(), mine.begin() + static_cast<std::ptrdiff_t>(parent.end), its.begin()));
      }
      if (node.leaf) {
        ++leaves[node.request];
        CHECK(node.end == prompts[node.request].size());
      }
    }
    CHECK(leaves == std::vector<int>(prompts.size(), 1));
    if (minimum == 9) CHECK(nodes.size() == prompts.size());
    if (minimum == 3) CHECK(nodes.size() == prompts.size() + 1);
  }
}

TEST_CASE("soft token cache: knows object, kind and budget, forgets what is gone") {
  using Kind = SoftTokenSource::Kind;
  SoftTokenCache cache(2);
  const auto image = [](const std::shared_ptr<const RgbImage>& object, int budget = 70) {
    return SoftTokenSource::picture(object, budget, Kind::image);
  };
  auto a = picture(4, 4, 1);
  const auto tokens = std::make_shared<const MatrixBuffer>(1, 1);
  cache.insert(image(a), tokens);
  CHECK(cache.find(image(a)) == tokens);
  CHECK(cache.find(image(a, 140)) == nullptr);
  CHECK(cache.find(SoftTokenSource::picture(a, 70, Kind::video_frame)) == nullptr);
  CHECK(cache.find(image(picture(4, 4, 1))) == nullptr);
  const auto b = picture(4, 4, 2);
  auto c = std::make_shared<const AudioClip>();
  cache.insert(image(b), tokens);
  cache.find(image(a));
  cache.insert(SoftTokenSource::sound(c), tokens);
  CHECK(cache.find(image(a)) == tokens);
  CHECK(cache.find(image(b)) == nullptr);
  const std::weak_ptr<const RgbImage> gone = a;
  a.reset();
  CHECK(gone.expired());
  CHECK(cache.find(SoftTokenSource::sound(c)) == tokens);
  CHECK(cache.find(SoftTokenSource::sound(std::make_shared<const AudioClip>())) == nullptr);
  // One that is larger than the cache drives all others out.
  const auto large = std::make_shared<const MatrixBuffer>(3, 1);
  cache.insert(image(b), large);
  CHECK(cache.find(image(b)) == large);
  CHECK(cache.find(SoftTokenSource::sound(c)) == nullptr);
}
