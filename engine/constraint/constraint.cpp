#include "engine/constraint/constraint.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "engine/constraint/automaton.h"
#include "engine/constraint/grammar_builder.h"
#include "engine/constraint/numbers.h"
#include "engine/constraint/schema_document.h"
#include "engine/constraint/value_reader.h"
#include "engine/utf8.h"

namespace reelfolio::engine {

namespace {

using constraint::Dfa;
using constraint::Grammar;

std::string first_of(const std::vector<SchemaRefusal>& refusals) {
  return "#" + refusals.front().pointer + ": " + refusals.front().message;
}

/// A bare text of an automaton.
Grammar bare(Dfa texts) {
  Grammar grammar;
  grammar.json = false;
  grammar.texts.push_back(std::move(texts));
  grammar.nodes.push_back({{{constraint::Alternative::Kind::text, 0}}});
  constraint::finish_grammar(grammar);
  return grammar;
}

}  // namespace

ConstraintError::ConstraintError(std::vector<SchemaRefusal> refusals)
    : std::runtime_error(first_of(refusals)), refusals_(std::move(refusals)) {}

Constraint::Constraint(std::unique_ptr<const constraint::Automaton> automaton)
    : automaton_(std::move(automaton)), shortest_(automaton_->complete(automaton_->start())) {}

Constraint::~Constraint() = default;

std::shared_ptr<const Constraint> Constraint::json_schema(std::string_view schema,
                                                          const ConstraintOptions& options) {
  const constraint::SchemaDocument document(schema);
  return std::shared_ptr<const Constraint>(new Constraint(
      std::make_unique<const constraint::Automaton>(constraint::build_grammar(document, options))));
}

std::shared_ptr<const Constraint> Constraint::choices(std::span<const std::string> texts) {
  if (texts.empty()) throw ConstraintError({SchemaRefusal{"", "there are no choices"}});
  constexpr std::string_view kSpace = " \t\n\r\f\v";
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const std::string& text = texts[i];
    const std::string place = "/" + std::to_string(i);
    if (text.empty()) throw ConstraintError({{place, "the choice is empty"}});
    if (!is_valid_utf8(text)) throw ConstraintError({{place, "the choice is not UTF-8"}});
    if (kSpace.find(text.front()) != kSpace.npos || kSpace.find(text.back()) != kSpace.npos) {
      throw ConstraintError({{place, "the choice begins or ends with white space"}});
    }
  }
  return std::shared_ptr<const Constraint>(new Constraint(
      std::make_unique<const constraint::Automaton>(bare(Dfa::texts({texts.begin(), texts.end()})))));
}

std::shared_ptr<const Constraint> Constraint::plain(PlainType type) {
  constraint::NumberRule rule;
  rule.integer = type == PlainType::integer;
  Dfa texts =
      type == PlainType::boolean ? Dfa::texts({"false", "true"}) : *constraint::number_automaton(rule);
  return std::shared_ptr<const Constraint>(
      new Constraint(std::make_unique<const constraint::Automaton>(bare(std::move(texts)))));
}

bool Constraint::admits(std::string_view text) const {
  return automaton_->may_end(automaton_->next(automaton_->start(), text));
}

bool Constraint::admits_value(std::string_view json) const {
  constraint::Json value;
  try {
    value = constraint::Json::parse(json);
  } catch (const constraint::Json::exception& error) {
    throw std::invalid_argument(error.what());
  }
  return constraint::admits_value(*automaton_, value);
}

const std::string& Constraint::shortest() const {
  return shortest_;
}

}  // namespace reelfolio::engine
