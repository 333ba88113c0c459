#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "engine/constraint/constraint.h"
#include "engine/constraint/token_masks.h"
#include "engine/tokenizer.h"

using namespace reelfolio::engine;
using namespace reelfolio::engine::constraint;

namespace {

const Tokenizer& tokenizer() {
  static const Tokenizer loaded = Tokenizer::load(REELFOLIO_SOURCE_DIR "/samples/model");
  return loaded;
}

}  // namespace

/// A JSON Schema, then, after a NUL, bytes that choose the tokens of an answer: every mask holds a token
/// as long as the text is not whole, each token of it can be taken, and what is left can be completed.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto strings = std::make_shared<StringMasks>(std::make_shared<const TokenTrie>(tokenizer()));
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t end = input.find('\0');
  std::shared_ptr<const Constraint> constraint;
  try {
    constraint = Constraint::json_schema(input.substr(0, end));
  } catch (const ConstraintError&) {
    return 0;
  }
  const Automaton& automaton = constraint->automaton();
  if (!constraint->admits(constraint->shortest())) std::abort();
  TokenMasks masks(std::shared_ptr<const Automaton>(constraint, &automaton), strings);
  Position position = automaton.start();
  const std::string_view choices =
      end == std::string_view::npos ? std::string_view() : input.substr(end + 1, 64);
  for (const char choice : choices) {
    const auto mask = masks.mask(position);
    const std::size_t count = mask->count();
    if (count == 0) {
      if (!automaton.must_end(position)) std::abort();
      break;
    }
    std::size_t wanted = static_cast<unsigned char>(choice) * count / 256;
    TokenId id = 0;
    while (!mask->test(id) || wanted-- > 0) ++id;
    position = automaton.next(std::move(position), tokenizer().token_bytes(id));
    if (position.dead()) std::abort();
    if (automaton.rest_bytes(position) > 100000)
      break;  // minItems and minLength may be as large as they like
    const std::string rest = automaton.complete(position);
    if (rest.size() > automaton.rest_bytes(position)) std::abort();
    if (!automaton.may_end(automaton.next(position, rest))) std::abort();
  }
  return 0;
}
