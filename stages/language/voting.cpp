#include "stages/language/voting.h"

#include <algorithm>
#include <utility>

namespace reelfolio::stages {

std::string vote_key(std::string_view answer) {
  std::string key;
  bool space = false;
  for (const char c : answer) {
    if (c == ' ' || c == '\n' || c == '\t' || c == '\r') {
      space = !key.empty();
      continue;
    }
    if (space) key += ' ';
    space = false;
    key += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  if (key.size() > 1 && key.back() == '.') key.pop_back();
  if (key.size() > 2 && (key.front() == '"' || key.front() == '\'') && key.back() == key.front()) {
    key = key.substr(1, key.size() - 2);
  }
  return key;
}

std::vector<Ballot> count_votes(std::span<const std::string> answers) {
  std::vector<std::string> keys;
  std::vector<Ballot> ballots;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    std::string key = vote_key(answers[i]);
    const auto known = std::ranges::find(keys, key);
    if (known != keys.end()) {
      ++ballots[static_cast<std::size_t>(known - keys.begin())].count;
      continue;
    }
    keys.push_back(std::move(key));
    ballots.push_back({i, 1});
  }
  std::ranges::stable_sort(ballots, [](const Ballot& a, const Ballot& b) { return a.count > b.count; });
  return ballots;
}

}  // namespace reelfolio::stages
