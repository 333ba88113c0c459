#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <span>
#include <stop_token>
#include <vector>

#include "engine/engine.h"
#include "engine/generation.h"
#include "engine/group_prompts.h"
#include "engine/loaded_model.h"
#include "engine/prefix_tree.h"

namespace reelfolio::engine {

/// One call of Engine::serve: takes groups from a source as places become free and makes passes
/// over the model until the source has no more. One thread.
///
/// A group is a tree of stretches of prompts (prefix_tree.h). A stretch waits in `ready_` from
/// the time that the one before it is prefilled; the last stretch of a prompt takes one of the
/// places when its prefill begins and keeps it, then as a generating sequence, until the answer ends.
class Serving {
 public:
  /// Everything is borrowed for the object's life.
  Serving(LoadedModel& model, RequestSource& source, const ServeOptions& options, std::stop_token stop);

  void run();

 private:
  /// A request that the model has taken.
  struct Asked {
    std::size_t set = 0;
    std::size_t request = 0;        ///< in the set
    std::uint64_t cache_bytes = 0;  ///< its sequence comes to at most
    bool ended = false;
  };
  struct Group {
    RequestGroup given;
    GroupPrompts text;
    std::vector<Asked> asked;  ///< by index of its prompt
    std::vector<PrefixNode> nodes;
    std::vector<std::vector<std::size_t>> children;
    std::vector<std::vector<Answer>> answers;  ///< by set and request
    std::vector<std::size_t> unanswered;       ///< requests by set
    std::size_t open_sets = 0;
  };
  /// A stretch of a prompt that is being prefilled, or is about to be.
  struct Stretch {
    Group* group = nullptr;
    std::size_t node = 0;
    text::KvCache cache;
    std::size_t done = 0;  ///< positions of the prompt in the cache

    const PrefixNode& place() const { return group->nodes[node]; }
    const Prompt& prompt() const { return group->text.prompts[place().request]; }
    bool begun() const { return done > place().begin; }
  };
  /// What a stretch contributes to a pass.
  struct Chunk {
    std::size_t rows = 0;
    std::size_t stretch = 0;  ///< index into ready_
    bool complete = false;
  };
  /// A sequence that generates.
  struct Sequence {
    Group* group = nullptr;
    std::size_t prompt = 0;
    text::KvCache cache;
    Generation generation;  ///< its next tokens are not yet in the cache

    Answer& answer();
  };

  bool take_groups();
  void begin_group(RequestGroup given);
  std::size_t most_positions(const Prompt& prompt, const Request& request) const;
  void make_tree(Group& group);
  std::vector<Chunk> choose_chunks();
  bool has_place(const Asked& asked) const;
  void pass();
  void compute(const std::vector<Chunk>& chunks);
  void charge(const std::vector<Chunk>& chunks, double seconds);
  void check_stop() const;
  void finish_stretch(Stretch stretch, std::span<float> logits);
  /// Chooses the sequence's next tokens; true if that ends it.
  bool advance(Sequence& sequence, std::span<float> logits);
  void finish(Sequence& sequence);
  /// Rows that the generating sequences take in the next pass.
  std::size_t decode_rows() const;
  void end(Group& group, std::size_t prompt, FinishReason reason);
  void cancel();
  void input_row(Group& group, const Prompt& prompt, std::size_t position, Vector row);
  void need_source(PromptSource& source, Answer& cause);
  /// f(source) for each source of which the stretch holds soft tokens.
  template <class F>
  static void each_source(Group& group, const PrefixNode& node, F f);
  static Answer& answer_of(Group& group, std::size_t prompt);

  LoadedModel& model_;
  RequestSource& source_;
  const ServeOptions options_;
  const std::size_t rows_per_pass_;
  std::stop_token stop_;

  std::list<Group> groups_;  ///< in the order taken; each has an open set
  /// From back to front: earlier groups before later ones, and a branch before another is opened.
  std::vector<Stretch> ready_;
  std::deque<Sequence> sequences_;
  std::size_t unanswered_ = 0;     ///< requests in groups_
  std::size_t places_taken_ = 0;   ///< sequences, and last stretches begun
  std::uint64_t cache_bytes_ = 0;  ///< that those come to at most
  MatrixBuffer inputs_, logits_;
};

}  // namespace reelfolio::engine
