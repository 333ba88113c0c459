#include "engine/mask_bench.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/constraint/constraint.h"
#include "engine/constraint/grammar_state.h"
#include "engine/constraint/token_masks.h"
#include "engine/sampling/sampler.h"
#include "engine/stopwatch.h"
#include "engine/tokenizer.h"

namespace reelfolio::engine {

namespace {

constexpr std::string_view kSchema = R"({
  "type": "object",
  "properties": {
    "number": {"type": ["string", "null"], "maxLength": 40},
    "date": {"type": ["string", "null"], "format": "date"},
    "seller": {"type": ["string", "null"]},
    "currency": {"enum": ["EUR", "USD", "GBP", "CHF", null]},
    "lines": {"type": "array", "items": {
      "type": "object",
      "properties": {
        "description": {"type": "string"},
        "article": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3,6}$"},
        "quantity": {"type": "integer", "minimum": 1},
        "amount": {"type": ["number", "null"], "minimum": 0}
      },
      "required": ["description", "quantity", "amount"],
      "additionalProperties": false
    }},
    "total": {"type": ["number", "null"], "multipleOf": 0.01}
  },
  "required": ["number", "date", "seller", "currency", "lines", "total"],
  "additionalProperties": false
})";

std::string words(sampling::Random& random, std::size_t most) {
  static constexpr const char* kWords[] = {"steel",   "Bolt",  "40 mm",  "garden",   "hose",
                                           "Müller",  "&",     "Sons",   "paper A4", "delivery",
                                           "service", "no. 7", "(blue)", "Łódź"};
  std::string text;
  for (std::size_t i = 1 + random.next() % most; i > 0; --i) {
    text += (text.empty() ? "" : " ") + std::string(kWords[random.next() % std::size(kWords)]);
  }
  return text;
}

std::string number(sampling::Random& random, std::uint64_t end) {
  return std::to_string(1 + random.next() % end);
}

std::string invoice(sampling::Random& random) {
  std::string text = R"({"number": "R-)" + number(random, 99999) + R"(", "date": "20)" +
                     std::to_string(10 + random.next() % 20) + "-0" + std::to_string(1 + random.next() % 9) +
                     "-1" + std::to_string(random.next() % 9) + R"(", "seller": ")" + words(random, 4) +
                     R"(", "currency": "EUR", "lines": [)";
  for (std::size_t i = 1 + random.next() % 8; i > 0; --i) {
    text += R"({"description": ")" + words(random, 6) + R"(", "article": "AB-)" +
            std::to_string(100 + random.next() % 9000) + R"(", "quantity": )" + number(random, 40) +
            R"(, "amount": )" + number(random, 900) + ".5}";
    text += i > 1 ? ", " : "";
  }
  return text + R"(], "total": )" + number(random, 9000) + ".25}";
}

}  // namespace

MaskMeasure measure_masks(const Tokenizer& tokenizer, int runs) {
  MaskMeasure measure;
  const auto begin = Clock::now();
  const auto constraint = Constraint::json_schema(kSchema);
  const auto strings =
      std::make_shared<constraint::StringMasks>(std::make_shared<const constraint::TokenTrie>(tokenizer));
  const auto masks = std::make_shared<constraint::TokenMasks>(
      std::shared_ptr<const constraint::Automaton>(constraint, &constraint->automaton()), strings);
  measure.prepare_s = seconds_since(begin);

  std::vector<double> seconds;
  sampling::Random random(1);
  for (int run = 0; run < runs; ++run) {
    std::string rest = invoice(random);
    constraint::GrammarState state(constraint, masks, tokenizer);
    const auto take = [&](const std::vector<TokenId>& ids) {
      for (const TokenId id : ids) rest.erase(0, tokenizer.token_bytes(id).size());
      return ids.size();
    };
    measure.forced_tokens += take(state.jump(rest.size()));
    while (!state.must_end()) {
      const auto start = Clock::now();
      const auto mask = state.mask();
      double spent = seconds_since(start);
      // The longest allowed token that the text goes on with.
      TokenId chosen = -1;
      for (const TokenId id : tokenizer.encode(rest)) {
        if (mask->test(id)) chosen = id;
        break;
      }
      for (std::size_t size = std::min<std::size_t>(rest.size(), 24); chosen < 0 && size > 0; --size) {
        const constraint::TokenTrie::Node node = strings->trie().find(std::string_view(rest).substr(0, size));
        if (node == constraint::TokenTrie::kNone) continue;
        for (const TokenId id : strings->trie().tokens(node)) chosen = mask->test(id) ? id : chosen;
      }
      if (chosen < 0) return measure;
      const auto step = Clock::now();
      state.accept(chosen);
      const std::vector<TokenId> ids = state.jump(rest.size());
      spent += seconds_since(step);
      seconds.push_back(spent);
      measure.forced_tokens += take(ids) - 1;
    }
  }
  measure.masks = seconds.size();
  std::sort(seconds.begin(), seconds.end());
  if (seconds.empty()) return measure;
  measure.median_s = seconds[seconds.size() / 2];
  measure.slowest_s = seconds.back();
  return measure;
}

}  // namespace reelfolio::engine
