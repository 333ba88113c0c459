#include "stages/language/answer_type.h"

#include <algorithm>
#include <array>
#include <set>
#include <string_view>

#include "engine/constraint/constraint.h"
#include "stages/error.h"
#include "stages/nearest_name.h"

namespace reelfolio::stages {

namespace {

constexpr std::array<std::string_view, 4> kAnswerTypes = {"text", "integer", "number", "boolean"};

std::string trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return {};
  return std::string(text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1));
}

}  // namespace

AnswerType AnswerType::choices(const std::vector<std::string>& texts, const std::string& param) {
  AnswerType type;
  type.kind_ = Kind::choices;
  std::vector<std::string> choices;
  std::set<std::string> seen;
  type.form_ = "Answer with one of these: ";
  for (const std::string& text : texts) {
    choices.push_back(trimmed(text));
    const std::string& choice = choices.back();
    if (choice.empty()) throw ParamError(param, "a choice is empty");
    if (!seen.insert(choice).second) throw ParamError(param, "'" + choice + "' is given twice");
    type.form_ += (choices.size() > 1 ? ", " : "") + choice;
  }
  if (choices.size() < 2) throw ParamError(param, "expected two choices or more");
  type.form_ += ".";
  try {
    type.constraint_ = engine::Constraint::choices(choices);
  } catch (const engine::ConstraintError& error) {
    throw ParamError(param, error.what());
  }
  return type;
}

AnswerType AnswerType::parse(const std::string& written, const std::string& param) {
  if (written.find('|') != std::string::npos) {
    std::vector<std::string> texts;
    for (std::size_t at = 0; at <= written.size();) {
      const std::size_t end = std::min(written.find('|', at), written.size());
      texts.push_back(written.substr(at, end - at));
      at = end + 1;
    }
    return choices(texts, param);
  }
  AnswerType type;
  const std::string name = trimmed(written);
  if (name == "text") return type;
  if (name == "integer") {
    type.kind_ = Kind::integer;
    type.form_ = "Answer with a whole number, in digits.";
    type.constraint_ = engine::Constraint::plain(engine::Constraint::PlainType::integer);
  } else if (name == "number") {
    type.kind_ = Kind::number;
    type.form_ = "Answer with a number, in digits.";
    type.constraint_ = engine::Constraint::plain(engine::Constraint::PlainType::number);
  } else if (name == "boolean") {
    type.kind_ = Kind::boolean;
    type.form_ = "Answer with true or false.";
    type.constraint_ = engine::Constraint::plain(engine::Constraint::PlainType::boolean);
  } else {
    throw ParamError(param,
                     "'" + name +
                         "' is no type, expected text, integer, number, boolean, or choices parted by '|'" +
                         did_you_mean(name, kAnswerTypes));
  }
  return type;
}

Json AnswerType::value(const std::string& text) const {
  if (kind_ == Kind::text || kind_ == Kind::choices) return nullptr;
  Json value = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  const bool fits = kind_ == Kind::boolean   ? value.is_boolean()
                    : kind_ == Kind::integer ? value.is_number_integer()
                                             : value.is_number();
  return fits ? value : Json(nullptr);
}

}  // namespace reelfolio::stages
