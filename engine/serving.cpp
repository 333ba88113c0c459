#include "engine/serving.h"

#include <algorithm>
#include <chrono>
#include <string_view>
#include <utility>

#include "engine/cache_room.h"
#include "engine/error.h"
#include "engine/stopwatch.h"
#include "engine/weight_pages.h"

namespace reelfolio::engine {

namespace {

/// Rows of one forward pass at most: as many as a matmul takes at full speed. Every row takes 0.2 MB of
/// activations with the release's widths, so weights that spare memory have fewer, which costs them two
/// percent of the time of prompts.
std::size_t most_rows_per_pass(ops::WeightType weights) {
  return spares_memory(weights) ? 128 : 512;
}
/// Shared stretches below this are cheaper to repeat than to run in a pass of their own.
constexpr std::size_t kMinSharedTokens = 32;

/// Thrown between layers when the caller has asked to stop.
struct Stopped {};

}  // namespace

Answer& Serving::Sequence::answer() {
  return answer_of(*group, prompt);
}

Answer& Serving::answer_of(Group& group, std::size_t prompt) {
  const Asked& asked = group.asked[prompt];
  return group.answers[asked.set][asked.request];
}

Serving::Serving(LoadedModel& model, RequestSource& source, const ServeOptions& options, std::stop_token stop)
    : model_(model),
      source_(source),
      options_(options),
      rows_per_pass_(most_rows_per_pass(model.weights)),
      stop_(std::move(stop)) {}

void Serving::check_stop() const {
  if (stop_.stop_requested()) throw Stopped{};
}

/// False: the source has no more and nothing is open.
bool Serving::take_groups() {
  while (unanswered_ < static_cast<std::size_t>(options_.max_sequences)) {
    std::optional<RequestGroup> group = source_.next(unanswered_ == 0);
    if (!group) return unanswered_ > 0;
    begin_group(std::move(*group));
  }
  return true;
}

/// Of prompt and answer, as far as the context goes.
std::size_t Serving::most_positions(const Prompt& prompt, const Request& request) const {
  return std::min(prompt.ids.size() + static_cast<std::size_t>(request.max_tokens),
                  model_.config.text.max_position_embeddings);
}

void Serving::begin_group(RequestGroup given) {
  Group& group = groups_.emplace_back();
  group.given = std::move(given);
  for (std::size_t set = 0; set < group.given.sets.size(); ++set) {
    const std::vector<Request>& requests = group.given.sets[set];
    std::size_t taken = 0;
    try {
      for (; taken < requests.size(); ++taken) {
        const std::size_t prompt = group.text.add(model_, requests[taken]);
        try {
          if (const auto available = available_memory_bytes()) {
            require_cache_room(model_.decoder.kv_layout(),
                               most_positions(group.text.prompts[prompt], requests[taken]), rows_per_pass_,
                               *available);
          }
        } catch (const RequestError&) {
          group.text.prompts.pop_back();
          throw;
        }
        group.asked.push_back({set, taken});
      }
    } catch (const RequestError& error) {
      source_.refused(group.given.id, set, taken, error);
      group.text.prompts.resize(group.text.prompts.size() - taken);
      group.asked.resize(group.text.prompts.size());
      group.answers.emplace_back();
      group.unanswered.push_back(0);
      continue;
    }
    group.answers.emplace_back(requests.size());
    group.unanswered.push_back(requests.size());
    ++group.open_sets;
  }
  if (group.open_sets == 0) {
    groups_.pop_back();
    return;
  }
  for (std::size_t i = 0; i < group.asked.size(); ++i) {
    Asked& asked = group.asked[i];
    const Prompt& prompt = group.text.prompts[i];
    const std::size_t positions = most_positions(prompt, group.given.sets[asked.set][asked.request]);
    asked.cache_bytes = model_.decoder.kv_layout().bytes_for(positions, rows_per_pass_);
    answer_of(group, i).prompt_tokens = static_cast<int>(prompt.ids.size());
  }
  unanswered_ += group.asked.size();
  make_tree(group);
}

void Serving::make_tree(Group& group) {
  std::vector<std::vector<std::uint64_t>> keys;
  for (const Prompt& prompt : group.text.prompts) keys.push_back(prompt.keys);
  group.nodes = build_prefix_tree(keys, kMinSharedTokens);
  group.children.resize(group.nodes.size());
  std::vector<Stretch> roots;
  for (std::size_t i = group.nodes.size(); i-- > 0;) {
    const PrefixNode& node = group.nodes[i];
    if (node.parent == PrefixNode::kNone) {
      roots.push_back({&group, i, model_.decoder.make_cache(), 0});
    } else {
      group.children[node.parent].push_back(i);
    }
    each_source(group, node, [](PromptSource& source) { ++source.uses; });
    if (!node.leaf) continue;
    // Positions that another request's stretch brought in.
    for (std::size_t n = node.parent; n != PrefixNode::kNone; n = group.nodes[n].parent) {
      const PrefixNode& shared = group.nodes[n];
      if (shared.request == node.request) continue;
      answer_of(group, node.request).shared_prompt_tokens += static_cast<int>(shared.end - shared.begin);
    }
  }
  ready_.insert(ready_.begin(), std::make_move_iterator(roots.begin()), std::make_move_iterator(roots.end()));
}

template <class F>
void Serving::each_source(Group& group, const PrefixNode& node, F f) {
  const auto& keys = group.text.prompts[node.request].keys;
  for (std::size_t i = node.begin; i < node.end; ++i) {
    if (!SoftTokenKey::is(keys[i])) continue;
    // The same source may follow itself: its row 0 starts anew.
    const bool first = i == node.begin || !SoftTokenKey::is(keys[i - 1]) || SoftTokenKey::row(keys[i]) == 0;
    if (first) f(group.text.sources[SoftTokenKey::source(keys[i])]);
  }
}

void Serving::need_source(PromptSource& source, Answer& cause) {
  if (source.rows) return;
  source.rows = model_.known_sources.find(source.source);
  if (source.rows) return;
  const auto start = Clock::now();
  source.rows =
      std::make_shared<const MatrixBuffer>(model_.towers.encode(source.source, [this] { check_stop(); }));
  model_.known_sources.insert(source.source, source.rows);
  const double seconds = seconds_since(start);
  cause.compute_s += seconds;
  const bool sound = source.source.kind == SoftTokenSource::Kind::audio;
  model_.count([&](EngineStats& stats) {
    ++(sound ? stats.audio_clips : stats.images);
    (sound ? stats.audio_s : stats.vision_s) += seconds;
  });
}

void Serving::input_row(Group& group, const Prompt& prompt, std::size_t position, Vector row) {
  const std::uint64_t key = prompt.keys[position];
  if (!SoftTokenKey::is(key)) {
    model_.decoder.embed({&prompt.ids[position], 1}, Matrix(row.data(), 1, row.size()));
    return;
  }
  const auto soft = group.text.sources[SoftTokenKey::source(key)].rows->row(SoftTokenKey::row(key));
  std::copy(soft.begin(), soft.end(), row.begin());
}

void Serving::end(Group& group, std::size_t prompt, FinishReason reason) {
  Asked& asked = group.asked[prompt];
  answer_of(group, prompt).finish_reason = reason;
  asked.ended = true;
  --unanswered_;
  if (--group.unanswered[asked.set] > 0) return;
  const std::size_t set = asked.set;
  source_.answered(group.given.id, set, std::move(group.answers[set]));
  if (--group.open_sets > 0) return;
  groups_.remove_if([&](const Group& each) { return &each == &group; });
}

void Serving::finish(Sequence& sequence) {
  sequence.generation.finish(sequence.answer());
  const MaskCounts& counts = sequence.generation.counts();
  model_.count([&](EngineStats& stats) {
    stats.forced_tokens += static_cast<std::uint64_t>(sequence.answer().forced_tokens);
    stats.masked_tokens += counts.masked_tokens;
    stats.mask_s += counts.mask_s;
  });
}

bool Serving::advance(Sequence& sequence, std::span<float> logits) {
  const std::size_t positions_left = model_.config.text.max_position_embeddings - sequence.cache.length();
  const std::optional<FinishReason> reason = sequence.generation.advance(logits, positions_left);
  if (!reason) return false;
  finish(sequence);
  --places_taken_;
  cache_bytes_ -= sequence.group->asked[sequence.prompt].cache_bytes;
  end(*sequence.group, sequence.prompt, *reason);
  return true;
}

void Serving::finish_stretch(Stretch stretch, std::span<float> logits) {
  Group& group = *stretch.group;
  const PrefixNode& node = stretch.place();
  each_source(group, node, [](PromptSource& source) {
    if (--source.uses == 0) source.rows.reset();
  });
  if (!node.leaf) {
    for (const std::size_t child : group.children[stretch.node]) {
      ready_.push_back({&group, child, stretch.cache.fork(), stretch.done});
    }
    return;
  }
  const Asked& asked = group.asked[node.request];
  const Request& request = group.given.sets[asked.set][asked.request];
  auto on_text = [this, id = group.given.id, set = asked.set, index = asked.request](std::string_view piece) {
    source_.on_text(id, set, index, piece);
  };
  Sequence sequence{&group, node.request, std::move(stretch.cache),
                    Generation(model_.generation(), request, std::move(on_text))};
  if (!advance(sequence, logits)) sequences_.push_back(std::move(sequence));
}

bool Serving::has_place(const Asked& asked) const {
  if (places_taken_ == 0) return true;
  return places_taken_ < static_cast<std::size_t>(options_.max_sequences) &&
         cache_bytes_ + asked.cache_bytes <= options_.cache_bytes;
}

std::size_t Serving::decode_rows() const {
  std::size_t rows = 0;
  for (const Sequence& sequence : sequences_) rows += sequence.generation.next().size();
  return rows;
}

/// Stretches of prompts for the rows that the generating sequences leave.
std::vector<Serving::Chunk> Serving::choose_chunks() {
  std::vector<Chunk> chunks;
  std::size_t rows = decode_rows();
  // Once a sequence has to wait for a place, nothing new is opened: caches and soft tokens
  // of a long group stay few.
  bool full = false;
  for (std::size_t i = ready_.size(); i-- > 0 && rows < rows_per_pass_;) {
    const Stretch& stretch = ready_[i];
    const PrefixNode& node = stretch.place();
    if (!stretch.begun()) {
      full = full || (node.leaf && !has_place(stretch.group->asked[node.request]));
      if (full) continue;
      if (node.leaf) {
        ++places_taken_;
        cache_bytes_ += stretch.group->asked[node.request].cache_bytes;
      }
    }
    const std::size_t count = std::min(rows_per_pass_ - rows, node.end - stretch.done);
    chunks.push_back({count, i, stretch.done + count == node.end});
    rows += count;
  }
  return chunks;
}

/// Each sequence's next tokens and each chunk's rows through the model, logits of which are in
/// logits_: a row for each sequence, then one for each chunk that completes a prompt.
void Serving::compute(const std::vector<Chunk>& chunks) {
  std::size_t rows = decode_rows();
  for (const Chunk& chunk : chunks) {
    rows += chunk.rows;
    const Stretch& stretch = ready_[chunk.stretch];
    Group& group = *stretch.group;
    const PrefixNode part{PrefixNode::kNone, stretch.place().request, stretch.done,
                          stretch.done + chunk.rows};
    each_source(group, part, [&](PromptSource& source) {
      need_source(source, answer_of(group, stretch.place().request));
    });
  }
  const auto start = Clock::now();
  inputs_.resize(rows, model_.config.text.hidden_size);
  std::vector<text::SequenceStep> steps;
  std::size_t row = 0;
  for (Sequence& sequence : sequences_) {
    const std::span<const TokenId> next = sequence.generation.next();
    model_.decoder.embed(next, inputs_.view().row_block(row, next.size()));
    steps.push_back(
        {&sequence.cache, inputs_.view().row_block(row, next.size()), next, text::LogitRows::last});
    row += next.size();
  }
  for (const Chunk& chunk : chunks) {
    Stretch& stretch = ready_[chunk.stretch];
    const Prompt& prompt = stretch.prompt();
    for (std::size_t r = 0; r < chunk.rows; ++r) {
      input_row(*stretch.group, prompt, stretch.done + r, inputs_.row(row + r));
    }
    const bool wants_logits = stretch.place().leaf && chunk.complete;
    steps.push_back({&stretch.cache, inputs_.view().row_block(row, chunk.rows),
                     std::span(prompt.ids).subspan(stretch.done, chunk.rows),
                     wants_logits ? text::LogitRows::last : text::LogitRows::none});
    row += chunk.rows;
  }
  model_.decoder.forward(steps, logits_,
                         [this](std::string_view, std::size_t, ConstMatrix) { check_stop(); });
  charge(chunks, seconds_since(start));
}

void Serving::charge(const std::vector<Chunk>& chunks, double seconds) {
  const std::size_t decoded = decode_rows();
  std::size_t rows = decoded;
  for (const Chunk& chunk : chunks) rows += chunk.rows;
  const double share = seconds / static_cast<double>(rows);
  for (Sequence& sequence : sequences_)
    sequence.answer().compute_s += share * static_cast<double>(sequence.generation.next().size());
  for (const Chunk& chunk : chunks) {
    const Stretch& stretch = ready_[chunk.stretch];
    answer_of(*stretch.group, stretch.place().request).compute_s += share * static_cast<double>(chunk.rows);
  }
  model_.count([&](EngineStats& stats) {
    stats.decode_tokens += decoded;
    stats.prefill_tokens += rows - decoded;
    // A mixed pass is a prompt's work with a few rows on top.
    (rows > decoded ? stats.prefill_s : stats.decode_s) += seconds;
  });
}

/// One forward pass: a token of every generating sequence, and chunks of prompts.
void Serving::pass() {
  const std::vector<Chunk> chunks = choose_chunks();
  compute(chunks);

  std::vector<Stretch> complete;
  std::size_t logit_row = sequences_.size();
  std::vector<std::size_t> complete_rows;
  for (const Chunk& chunk : chunks) {
    Stretch& stretch = ready_[chunk.stretch];
    stretch.done += chunk.rows;
    if (!chunk.complete) continue;
    complete_rows.push_back(stretch.place().leaf ? logit_row++ : 0);
    complete.push_back(std::move(stretch));
  }
  // Chunks run from the back of ready_ to its front, so the indices that follow stay right.
  for (const Chunk& chunk : chunks) {
    if (chunk.complete) ready_.erase(ready_.begin() + static_cast<std::ptrdiff_t>(chunk.stretch));
  }
  std::size_t row = 0;
  std::deque<Sequence> going;
  for (Sequence& sequence : sequences_) {
    if (!advance(sequence, logits_.row(row++))) going.push_back(std::move(sequence));
  }
  sequences_ = std::move(going);
  for (std::size_t i = complete.size(); i-- > 0;) {
    const bool leaf = complete[i].place().leaf;
    finish_stretch(std::move(complete[i]), leaf ? logits_.row(complete_rows[i]) : std::span<float>{});
  }
}

/// Ends every open request with what there is.
void Serving::cancel() {
  for (Sequence& sequence : sequences_) finish(sequence);
  sequences_.clear();
  ready_.clear();
  while (!groups_.empty()) {
    Group& group = groups_.front();
    const auto open =
        std::find_if(group.asked.begin(), group.asked.end(), [](const Asked& asked) { return !asked.ended; });
    end(group, static_cast<std::size_t>(open - group.asked.begin()), FinishReason::cancelled);
  }
}

void Serving::run() {
  try {
    while (take_groups()) {
      check_stop();
      pass();
    }
  } catch (const Stopped&) {
    // A pass that is left halfway has committed nothing to the caches.
    cancel();
  }
}

}  // namespace reelfolio::engine
