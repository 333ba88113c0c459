#include "pipeline/decoding.h"

#include <stdexcept>
#include <utility>

#include "engine/tokenizer.h"
#include "stages/decoder/isolated_decoder.h"

namespace reelfolio::pipeline {

namespace {

using stages::Cancelled;
using stages::ItemError;
using stages::kInternalError;
using stages::StageTimer;
using stages::TimedStage;

/// What one decoder thread holds: workers with what they have open, and the input in hand.
class Decoder : private stages::DecodeEvents {
 public:
  Decoder(RunState& state, const RunOptions& options, const engine::Engine* engine)
      : state_(state),
        probe_(options.probe),
        engine_(engine),
        timer_([&clock = state.clock] { return clock.now_s(); }, state.graph.stages.size()),
        thread_(make_decoder_thread(state.plan, timer_, options.decoders)) {}
  ~Decoder() override { add_costs(); }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  /// Makes all items of one input. Throws Cancelled if the run stops.
  void decode(const std::shared_ptr<InputRun>& run, const ListedInput& listed) {
    run_ = run;
    parts_ = 0;
    state_.report([&](Progress& progress) { progress.input_started(run->index, listed.name); });
    try {
      if (open(listed)) {
        hand_over(GraphStage::kInputs, stages::Item{input_, nullptr, {}});
        thread_->decode(input_, *this);
      } else {
        thread_->forget();
      }
    } catch (const Cancelled&) {
      input_.reset();
      run_.reset();
      if (state_.is_stopping()) throw;
      return;
    }
    input_.reset();
    run_.reset();
  }

 private:
  /// Probes the input. False: there is nothing to decode.
  bool open(const ListedInput& listed) {
    if (!listed.error.empty()) {
      failed(GraphStage::kInputs, nullptr, "input.unreadable", listed.error);
      return false;
    }
    const TimedStage timed(timer_, GraphStage::kInputs);
    timer_.count_item(GraphStage::kInputs);
    try {
      input_ = std::make_shared<const stages::InputFile>(
          probe_ ? probe_(listed.path, listed.name)
                 : thread_->probe(listed.path, listed.name, [this] { return state_.is_stopping(); }));
    } catch (const ItemError& error) {
      failed(GraphStage::kInputs, nullptr, error.code(), error.what());
      return false;
    } catch (const stages::DecoderServerError&) {
      throw;
    } catch (const std::exception& error) {
      failed(GraphStage::kInputs, nullptr, kInternalError, error.what());
      return false;
    }
    std::optional<stages::InputResult> known;
    if (state_.history != nullptr) known = state_.history->find(*input_);
    const std::lock_guard lock(state_.mutex);
    run_->builder.set_input(input_);
    if (known) {
      known->input = input_;
      run_->reused = std::move(known);
      return false;
    }
    if (input_->media == stages::MediaKind::unknown) {
      run_->builder.add_error(GraphStage::kInputs, nullptr, "input.unsupported",
                              "the content is no video, PDF, image, sound or text");
      return false;
    }
    return true;
  }

  /// Hands an item of `source` to the language stages that take it.
  void hand_over(int source, const stages::Item& item) {
    const auto type = item_type(item);
    if (!type) return;
    std::vector<int> takers;
    bool taken = false;
    for (std::size_t i = 0; i < state_.graph.stages.size(); ++i) {
      const int stage = static_cast<int>(i);
      if (!state_.plan.takes(stage, source, *type)) continue;
      taken = true;
      if (state_.graph.stages[i].language) takers.push_back(stage);
    }
    if (source == GraphStage::kInputs && taken) {
      const std::lock_guard lock(state_.mutex);
      run_->builder.set_taken();
    }
    if (!takers.empty()) ask(item, takers);
  }

  /// Makes the questions of language stages about an item and queues them.
  void ask(const stages::Item& item, const std::vector<int>& stages) {
    if (item.unit) {
      const std::lock_guard lock(state_.mutex);
      for (std::size_t i = 0; i < stages.size(); ++i) run_->builder.add_attempt(*item.unit);
    }
    QueuedItem work{run_, item, {}, 0, ++parts_};
    for (const int stage : stages) {
      const TimedStage timed(timer_, stage);
      timer_.count_item(stage);
      try {
        if (!item.unit) throw std::logic_error("a language stage received an item without a unit");
        StageQuestions questions{stage, state_.graph.stages[stage].language->requests(item)};
        if (questions.requests.empty()) {
          stages::Json value = state_.graph.stages[stage].language->result(item, {});
          const std::lock_guard lock(state_.mutex);
          run_->builder.add_result(stage, *item.unit, std::move(value), work.part);
        } else {
          work.questions.push_back(std::move(questions));
        }
      } catch (const ItemError& error) {
        failed(stage, item.unit, error.code(), error.what());
      } catch (const std::exception& error) {
        failed(stage, item.unit, kInternalError, error.what());
      }
    }
    if (!work.questions.empty()) state_.enqueue(std::move(work));
  }

  void emitted(int stage, stages::Item item, bool is_new) override {
    check_cancelled();
    const std::shared_ptr<const stages::Unit> unit = item.unit;
    if (unit) {
      bool doubled = false;
      {
        const std::lock_guard lock(state_.mutex);
        doubled = is_new && !run_->builder.add_unit(unit);
        if (!doubled) run_->builder.add_frames(*unit, item.pictures);
        if (is_new && !doubled) run_->units[unit.get()];
      }
      if (doubled) give_up(stage, unit, "unit " + std::to_string(unit->index) + " was emitted twice");
      if (is_new) state_.report([&](Progress& progress) { progress.unit_found(run_->index); });
    }
    hand_over(stage, item);
  }

  void unit_closed(const std::shared_ptr<const stages::Unit>& unit) override {
    bool done = false;
    {
      const std::lock_guard lock(state_.mutex);
      InputRun::UnitWork& work = run_->units[unit.get()];
      work.closed = true;
      done = work.pending == 0;
      if (done) run_->units.erase(unit.get());
    }
    if (done) report_unit_done();
  }

  void failed(int stage, std::shared_ptr<const stages::Unit> unit, const std::string& code,
              const std::string& message) override {
    state_.add_error(*run_, stage, std::move(unit), code, message);
  }

  /// The input is given up: the workers unwind as they do when a run stops.
  [[noreturn]] void give_up(int stage, std::shared_ptr<const stages::Unit> unit, const std::string& message) {
    failed(stage, std::move(unit), kInternalError, message);
    {
      const std::lock_guard lock(state_.mutex);
      run_->given_up = true;
    }
    throw Cancelled{};
  }

  bool stopped() const override {
    const std::lock_guard lock(state_.mutex);
    return state_.stopping || run_->given_up;
  }
  void check_cancelled() const {
    if (stopped()) throw Cancelled{};
  }

  void advanced(double part) override {
    state_.report([&](Progress& progress) { progress.input_advanced(run_->index, part); });
  }

  std::size_t count_tokens(std::string_view text) const override {
    return engine_ != nullptr ? engine_->tokenizer().encode(text).size() : DecodeEvents::count_tokens(text);
  }

  void report_unit_done() {
    const engine::EngineStats stats = engine_ != nullptr ? engine_->stats() : engine::EngineStats{};
    state_.report([&](Progress& progress) { progress.unit_done(run_->index, stats); });
  }

  void add_costs() {
    const std::lock_guard lock(state_.mutex);
    for (std::size_t i = 0; i < state_.costs.size(); ++i) {
      state_.costs[i].seconds += timer_.costs()[i].seconds;
      state_.costs[i].items += timer_.costs()[i].items;
    }
  }

  RunState& state_;
  const ProbeFunction& probe_;
  const engine::Engine* engine_;
  StageTimer timer_;
  std::unique_ptr<stages::DecoderThread> thread_;
  std::shared_ptr<InputRun> run_;
  std::uint64_t parts_ = 0;  ///< items of the input that language stages took
  std::shared_ptr<const stages::InputFile> input_;
};

}  // namespace

void decode_inputs(RunState& state, const RunOptions& options, const engine::Engine* engine) {
  try {
    Decoder decoder(state, options, engine);
    while (const auto run = state.begin_next_input()) {
      decoder.decode(run, state.inputs[run->index]);
      state.end_decoding(*run);
    }
  } catch (const Cancelled&) {
    // The run stops: the input in hand stays undecoded and is dropped.
  } catch (...) {
    state.fail();
  }
}

}  // namespace reelfolio::pipeline
