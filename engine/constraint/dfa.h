#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace reelfolio::engine::constraint {

/// Bytes that an automaton treats alike share a class; classes count from 0.
using ByteClasses = std::array<std::uint8_t, 256>;

/// Bound on the states of an automaton that a schema asks for.
constexpr std::size_t kMaxDfaStates = 60000;

/// A deterministic finite automaton over bytes, of live states alone: from each of them
/// some text leads to an accepting one. Immutable after building; any thread.
class Dfa {
 public:
  using State = std::uint32_t;
  static constexpr State kDead = std::numeric_limits<State>::max();

  /// What a state is made of while an automaton is being built.
  using Key = std::vector<std::uint32_t>;
  /// The successor on a byte; absent where there is none.
  using Step = std::function<std::optional<Key>(const Key&, unsigned char)>;

  /// Explores the states that `start` leads to. `step` is asked once for each class.
  /// Absent where there are more than `most_states`.
  static std::optional<Dfa> explore(const Key& start, const ByteClasses& classes, const Step& step,
                                    const std::function<bool(const Key&)>& accepts, std::size_t most_states);
  /// Accepts exactly these texts.
  static Dfa texts(std::vector<std::string> texts);
  /// Accepts what `a` and `b` do / `a` or `b` do / `a` does and `b` does not.
  enum class Join { both, either, first_only };
  static std::optional<Dfa> join(const Dfa& a, const Dfa& b, Join join, std::size_t most_states);

  /// kDead where nothing is accepted.
  State start() const { return accepting_.empty() ? kDead : 0; }
  bool empty() const { return accepting_.empty(); }
  std::size_t size() const { return accepting_.size(); }

  State next(State state, unsigned char byte) const { return table_[state * num_classes_ + classes_[byte]]; }
  bool accepts(State state) const { return accepting_[state]; }
  /// No byte leads on: an accepting state in which the text must end.
  bool is_final(State state) const { return final_[state]; }
  /// Fewest bytes from `state` to an accepting one.
  std::uint32_t rest_bytes(State state) const { return rest_[state]; }
  /// The text of rest_bytes bytes, the smallest bytes first among equals.
  std::string shortest_rest(State state) const;
  bool admits(std::string_view text) const;
  /// Whether the accepted texts are without number.
  bool infinite() const;
  /// Texts from `state` to accepting ones, shorter before longer, `most` of them at most; all of
  /// them where there are no more.
  std::vector<std::string> words(State state, std::size_t most) const;
  /// By state: how many texts lead to accepting ones; kDead for very many or no end.
  std::vector<std::uint32_t> word_counts() const;

 private:
  void finish();
  void trim();
  void minimise();

  ByteClasses classes_{};
  std::size_t num_classes_ = 1;
  std::vector<State> table_;  ///< [state, class]
  std::vector<bool> accepting_;
  std::vector<bool> final_;
  std::vector<std::uint32_t> rest_;
};

/// Classes that tell apart what either of two does.
ByteClasses refine(const ByteClasses& a, const ByteClasses& b);
/// A class for each maximal run of bytes between the cuts: cuts[b] starts one at byte b.
ByteClasses classes_of_cuts(const std::array<bool, 257>& cuts);

}  // namespace reelfolio::engine::constraint
