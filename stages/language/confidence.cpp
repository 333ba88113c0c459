#include "stages/language/confidence.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "engine/json_tree.h"

namespace reelfolio::stages {

namespace {

/// Walks over valid JSON text and reports where its scalars stand.
class Walker {
 public:
  Walker(std::string_view text, const engine::Answer& answer, std::size_t offset, Json& found)
      : text_(text), answer_(answer), offset_(offset), found_(found) {}

  /// Recursion is bounded by json_object_in, which takes 100 levels at most.
  void value(const std::string& pointer) {
    skip_space();
    if (at_ >= text_.size()) return;
    if (text_[at_] == '{') return object(pointer);
    if (text_[at_] == '[') return list(pointer);
    const std::size_t begin = at_;
    if (text_[at_] == '"') {
      string();
    } else {
      at_ = std::min(text_.find_first_of(",]} \t\r\n", at_), text_.size());
    }
    found_[pointer] = confidence_of(answer_.tokens, offset_ + begin, offset_ + at_);
  }

 private:
  void skip_space() { at_ = std::min(text_.find_first_not_of(" \t\r\n", at_), text_.size()); }

  /// Whether `c` comes next; takes it.
  bool take(char c) {
    skip_space();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  std::string string() {
    const std::size_t begin = at_++;
    while (at_ < text_.size() && text_[at_] != '"') at_ += text_[at_] == '\\' ? 2 : 1;
    at_ = std::min(at_ + 1, text_.size());
    const Json parsed = Json::parse(text_.substr(begin, at_ - begin), nullptr, false);
    return parsed.is_string() ? parsed.get<std::string>() : std::string();
  }

  void object(const std::string& pointer) {
    ++at_;
    while (!take('}') && at_ < text_.size()) {
      const std::string step = engine::pointer_step(string());
      take(':');
      value(pointer + "/" + step);
      take(',');
      skip_space();
    }
  }

  void list(const std::string& pointer) {
    ++at_;
    for (std::size_t i = 0; !take(']') && at_ < text_.size(); ++i) {
      value(pointer + "/" + std::to_string(i));
      take(',');
    }
  }

  std::string_view text_;
  const engine::Answer& answer_;
  std::size_t offset_;
  Json& found_;
  std::size_t at_ = 0;
};

}  // namespace

double confidence_of(std::span<const engine::AnswerToken> tokens, std::size_t begin, std::size_t end) {
  double sum = 0;
  int count = 0;
  for (const engine::AnswerToken& token : tokens) {
    if (!token.log_probability || token.end <= begin || token.begin >= end) continue;
    sum += static_cast<double>(*token.log_probability);
    ++count;
  }
  return count == 0 ? 1.0 : std::round(std::exp(sum / count) * 10000) / 10000;
}

Json confidence_of_fields(const engine::Answer& answer, std::string_view object) {
  Json found = Json::object();
  Walker(object, answer, static_cast<std::size_t>(object.data() - answer.text.data()), found).value("");
  return found;
}

}  // namespace reelfolio::stages
