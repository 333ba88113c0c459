#include <memory>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "engine/constraint/constraint.h"
#include "engine/constraint/grammar_state.h"
#include "engine/constraint/token_masks.h"
#include "engine/tokenizer.h"
#include "tests/support/catch.h"
#include "tests/support/random_schema.h"

namespace {

using namespace reelfolio::engine;
using namespace reelfolio::engine::constraint;

const Tokenizer& tokenizer() {
  static const Tokenizer loaded = Tokenizer::load(REELFOLIO_SOURCE_DIR "/samples/model");
  return loaded;
}

std::shared_ptr<StringMasks> string_masks() {
  static const auto masks = std::make_shared<StringMasks>(std::make_shared<const TokenTrie>(tokenizer()));
  return masks;
}

std::shared_ptr<TokenMasks> masks_of(const std::shared_ptr<const Constraint>& constraint) {
  return std::make_shared<TokenMasks>(std::shared_ptr<const Automaton>(constraint, &constraint->automaton()),
                                      string_masks());
}

GrammarState state_of(const std::shared_ptr<const Constraint>& constraint) {
  return {constraint, masks_of(constraint), tokenizer()};
}

/// What the tokens stand for that are no single bytes.
const std::set<std::string_view>& pieces() {
  static const std::set<std::string_view> all = [] {
    std::set<std::string_view> texts;
    for (std::size_t i = 0; i < tokenizer().vocab_size(); ++i) {
      const auto id = static_cast<TokenId>(i);
      if (!tokenizer().is_byte(id) && !tokenizer().is_special(id)) texts.insert(tokenizer().token_bytes(id));
    }
    return texts;
  }();
  return all;
}

/// Ids that the mask and the bytes of the token tell apart, "" if there are none.
std::string wrong_tokens(const TokenMask& mask, const Automaton& automaton, const Position& position) {
  std::string wrong;
  for (std::size_t i = 0; i < tokenizer().vocab_size(); ++i) {
    const auto id = static_cast<TokenId>(i);
    const std::string_view text = tokenizer().token_bytes(id);
    const bool is_usable = !text.empty() && !tokenizer().is_special(id);
    const bool can_follow = is_usable && !automaton.next(position, text).dead();
    // A byte token gives way to a piece that spells the same byte.
    const bool has_twin = tokenizer().is_byte(id) && pieces().contains(text);
    if (mask.test(id) != (can_follow && !has_twin))
      wrong += " " + std::to_string(i) + " '" + std::string(text) + "'";
  }
  return wrong;
}

/// A text that the constraint admits, by random tokens of the masks; f(text so far, position) at each.
template <class F>
void walk(const std::shared_ptr<const Constraint>& constraint, TokenMasks& masks, std::uint32_t seed,
          int steps, F f) {
  std::mt19937 random(seed);
  const Automaton& automaton = constraint->automaton();
  Position position = automaton.start();
  std::string text;
  for (int i = 0; i < steps; ++i) {
    f(text, position);
    const auto mask = masks.mask(position);
    std::vector<TokenId> allowed;
    for (std::size_t id = 0; id < tokenizer().vocab_size(); ++id) {
      if (mask->test(static_cast<TokenId>(id))) allowed.push_back(static_cast<TokenId>(id));
    }
    if (allowed.empty()) return;
    const TokenId id = allowed[random() % allowed.size()];
    text += tokenizer().token_bytes(id);
    position = automaton.next(std::move(position), tokenizer().token_bytes(id));
  }
}

std::string text_of(const std::vector<TokenId>& ids) {
  std::string text;
  for (const TokenId id : ids) text += tokenizer().token_bytes(id);
  return text;
}

}  // namespace

TEST_CASE("masks: a token is in the mask exactly if its bytes can follow") {
  const std::vector<std::string> schemas = {
      "{}",
      R"({"type":"object","additionalProperties":{"type":"string"}})",
      R"({"type":"object","patternProperties":{"^(a|bc?)$":{"type":"integer"},"^x":{"type":"null"}},"additionalProperties":false,"minProperties":2})",
      R"({"type":"array","items":{"type":"string","maxLength":5,"minLength":2},"minItems":2})",
      R"({"type":"array","items":{"type":"string","pattern":"^([a-d]+ ?)*$","maxLength":9}})",
      R"({"type":"object","properties":{"name":{"type":["string","null"]},"total":{"type":"number","minimum":0},"when":{"type":"string","format":"date"}},"required":["name"]})",
  };
  for (const std::string& schema : schemas) {
    INFO(schema);
    const auto constraint = Constraint::json_schema(schema);
    const auto masks = masks_of(constraint);
    for (std::uint32_t seed = 0; seed < 4; ++seed) {
      walk(constraint, *masks, seed, 25, [&](const std::string& text, const Position& position) {
        INFO(text);
        CHECK(wrong_tokens(*masks->mask(position), constraint->automaton(), position) == "");
      });
    }
  }
}

TEST_CASE("masks: random schemas, and what was asked before changes nothing") {
  reelfolio::test::RandomSchemas random(7);
  for (std::uint32_t i = 0; i < 40; ++i) {
    const std::string schema = random.schema().dump();
    INFO(schema);
    std::shared_ptr<const Constraint> constraint;
    try {
      constraint = Constraint::json_schema(schema);
    } catch (const ConstraintError&) {
      continue;  // no value satisfies it
    }
    const auto masks = masks_of(constraint);
    walk(constraint, *masks, i, 20, [&](const std::string& text, const Position& position) {
      INFO(text);
      CHECK(wrong_tokens(*masks->mask(position), constraint->automaton(), position) == "");
      CHECK(masks->mask(position)->words == masks_of(constraint)->mask(position)->words);
    });
  }
}

TEST_CASE(
    "grammar state: forced text is appended as the tokenizer splits it, the model's tokens are left to it") {
  const auto constraint = Constraint::json_schema(
      R"({"type":"object","properties":{"colour":{"enum":["red","green"]},"shape":{"const":"circle"}},"required":["colour","shape"],"additionalProperties":false})");
  for (const char* text :
       {R"({"colour":"green","shape":"circle"})", R"({"colour": "red", "shape": "circle"})"}) {
    // A model that means to write this text in these tokens writes it in them, and is asked for fewer.
    const std::vector<TokenId> meant = tokenizer().encode(text);
    GrammarState state = state_of(constraint);
    std::vector<TokenId> written = state.jump(100);
    std::size_t asked = 0;
    while (!state.must_end()) {
      REQUIRE(written.size() < meant.size());
      REQUIRE(std::equal(written.begin(), written.end(), meant.begin()));
      const TokenId next = meant[written.size()];
      REQUIRE(state.mask()->test(next));
      REQUIRE(state.accept(next));
      ++asked;
      const std::vector<TokenId> more = state.jump(100);
      written.insert(written.end(), more.begin(), more.end());
    }
    CHECK(written == meant);
    CHECK(asked < meant.size());
  }

  // To the end, the lowest token each time.
  GrammarState state = state_of(constraint);
  std::string text = text_of(state.jump(100));
  int asked = 0;
  while (!state.must_end()) {
    const auto allowed = state.mask();
    TokenId id = 0;
    while (!allowed->test(id)) ++id;
    REQUIRE(state.accept(id));
    ++asked;
    text += text_of(state.jump(100));
    REQUIRE(asked < 100);
  }
  CHECK(constraint->admits(text));
  CHECK(asked < static_cast<int>(tokenizer().encode(text).size()));
}

TEST_CASE("grammar state: a value that is forced throughout needs no model, and a limit stops a jump") {
  const auto constraint = Constraint::json_schema(R"({"const":{"a":[1,2,"▁"]}})");
  // The spacing is left open.
  GrammarState state = state_of(constraint);
  std::string text = text_of(state.jump(1000));
  CHECK(std::string(R"({"a":)").starts_with(text));
  const auto word = Constraint::json_schema(R"({"const":"one two three four five"})");
  GrammarState forced = state_of(word);
  CHECK(text_of(forced.jump(1000)) == "\"one two three four five\"");
  CHECK(forced.must_end());
  CHECK(forced.completion().empty());
  GrammarState limited = state_of(word);
  CHECK(limited.jump(1).empty());
  CHECK_FALSE(limited.can_complete(1));
  CHECK(limited.can_complete(limited.completion().size()));
}

TEST_CASE("grammar state: completions fit the tokens that can_complete promises") {
  reelfolio::test::RandomSchemas random(11);
  for (std::uint32_t i = 0; i < 60; ++i) {
    const std::string schema = random.schema().dump();
    INFO(schema);
    std::shared_ptr<const Constraint> constraint;
    try {
      constraint = Constraint::json_schema(schema);
    } catch (const ConstraintError&) {
      continue;
    }
    GrammarState state = state_of(constraint);
    std::mt19937 choice(i);
    std::string text = text_of(state.jump(1000));
    for (int step = 0; step < 12 && !state.must_end(); ++step) {
      const std::vector<TokenId> rest = state.completion();
      CHECK(state.can_complete(rest.size()));
      INFO(text << "|" << text_of(rest));
      CHECK(constraint->admits(text + text_of(rest)));
      const auto mask = state.mask();
      std::vector<TokenId> allowed;
      for (std::size_t id = 0; id < tokenizer().vocab_size(); ++id) {
        if (mask->test(static_cast<TokenId>(id))) allowed.push_back(static_cast<TokenId>(id));
      }
      REQUIRE_FALSE(allowed.empty());
      const TokenId id = allowed[choice() % allowed.size()];
      REQUIRE(state.accept(id));
      text += text_of(state.jump(1000));
    }
  }
}
