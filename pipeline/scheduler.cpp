#include "pipeline/scheduler.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "engine/tokenizer.h"
#include "pipeline/result_builder.h"
#include "stages/probe.h"

namespace reelfolio::pipeline {

namespace {

using stages::Cancelled;
using stages::ItemError;
using stages::kInternalError;
using stages::StageTimer;
using stages::TimedStage;

// What an item costs beside its pictures, so that items without any are bounded too.
constexpr std::size_t kItemBytes = 1024;

/// One input on its way from the list to the sink. It is
///   begun     when a decoder takes it
///   decoded   when that decoder has made all its items (or has given up on it)
///   finished  when it is decoded and the engine has answered the last of its items;
///             the calling thread then writes it in its turn and forgets it.
/// Every member is guarded by Scheduler::mutex_.
struct InputRun {
  InputRun(const Graph& graph, std::size_t index_, std::shared_ptr<const stages::InputFile> input)
      : index(index_), builder(graph, std::move(input)) {}

  struct UnitWork {
    int pending = 0;      ///< items of it that wait for the engine
    bool closed = false;  ///< no further items will come
  };

  const std::size_t index;  ///< in the list of the run
  ResultBuilder builder;
  std::optional<stages::InputResult> reused;
  std::map<const stages::Unit*, UnitWork> units;
  int pending = 0;  ///< items that wait for the engine
  bool decoded = false;
  bool given_up = false;  ///< a worker broke down: nothing more is made of this input

  bool finished() const { return decoded && pending == 0; }
};

/// An item that language stages are to be asked about.
struct QueuedItem {
  std::shared_ptr<InputRun> run;
  stages::Item item;
  std::vector<int> stages;
  std::size_t bytes = 0;
};

class Decoder;

/// State of a run. The calling thread is in `run`; each decoder thread in `decode_inputs`.
class Scheduler {
 public:
  Scheduler(const Graph& graph, const std::vector<ListedInput>& inputs, engine::Engine* engine,
            stages::Sink& sink, Progress& progress, std::stop_token stop, const RunOptions& options)
      : graph_(graph),
        plan_(decode_plan(graph)),
        inputs_(inputs),
        engine_(engine),
        sink_(sink),
        progress_(progress),
        stop_(std::move(stop)),
        history_(options.history),
        probe_(options.probe ? options.probe : stoppable_probe()),
        clock_(options.clock != nullptr ? *options.clock : steady_clock()),
        costs_(graph.stages.size() + 1) {}

  RunSummary run();

 private:
  friend class Decoder;

  // Decoder threads.
  void decode_inputs();
  std::shared_ptr<InputRun> next_input(std::size_t& index);
  void enqueue(QueuedItem item);
  void add_costs(const StageTimer& timer);

  // The calling thread.
  void work();
  std::vector<std::shared_ptr<InputRun>> take_finished();
  void write(InputRun& run);
  void answer(QueuedItem work);
  bool ask(const QueuedItem& work, std::span<const int> stages,
           std::span<const std::vector<engine::Request>> requests);
  void take_answers(const QueuedItem& work, int stage, std::span<const engine::Answer> answers);
  void share_out(double seconds, std::span<const int> stages,
                 std::span<const std::vector<engine::Request>> requests,
                 std::span<const engine::Answer> answers);

  ProbeFunction stoppable_probe() {
    return [this](const std::filesystem::path& path, const std::string& name) {
      return stages::probe_input(path, name, [this] { return stopping(); });
    };
  }

  // Any thread.
  void begin_stop();
  bool stopping() {
    const std::lock_guard lock(mutex_);
    return stopping_;
  }
  void add_error(InputRun& run, int stage, std::shared_ptr<const stages::Unit> unit, std::string code,
                 std::string message) {
    const std::lock_guard lock(mutex_);
    run.builder.add_error(stage, std::move(unit), std::move(code), std::move(message));
  }
  template <class Report>
  void report(Report&& what) {
    const std::lock_guard lock(progress_mutex_);
    what(progress_);
  }
  engine::EngineStats engine_stats() const {
    return engine_ != nullptr ? engine_->stats() : engine::EngineStats{};
  }
  void report_unit_done(std::size_t input) {
    const engine::EngineStats stats = engine_stats();
    report([&](Progress& progress) { progress.unit_done(input, stats); });
  }

  // A thread of its own.
  void tick_until(std::stop_token ended);

  const Graph& graph_;
  const stages::DecodePlan plan_;
  const std::vector<ListedInput>& inputs_;
  engine::Engine* engine_;
  stages::Sink& sink_;
  Progress& progress_;
  std::stop_token stop_;
  History* history_;
  ProbeFunction probe_;
  const Clock& clock_;

  std::mutex progress_mutex_;  ///< Progress hears one thread at a time; never held with mutex_

  std::mutex mutex_;                       ///< guards what follows, and every InputRun
  std::condition_variable engine_wakes_;   ///< an item, a finished input, a failure or a stop
  std::condition_variable decoders_wake_;  ///< room in the queue or the window, or a stop
  std::map<std::size_t, std::shared_ptr<InputRun>> window_;  ///< begun and not yet written, by index
  std::size_t next_ = 0;                                     ///< the first input not yet begun
  std::size_t written_ = 0;                                  ///< inputs before this one are written
  std::deque<QueuedItem> queue_;
  std::size_t queue_bytes_ = 0;  ///< of the queue and of the item being answered
  bool stopping_ = false;
  std::exception_ptr failure_;                ///< of a decoder thread, not an input's fault
  std::vector<RunSummary::StageCost> costs_;  ///< at stage + 1

  RunSummary summary_;  ///< the calling thread's
};

/// What one decoder thread holds: workers with what they have open, and the input in hand.
class Decoder : private stages::DecodeEvents {
 public:
  explicit Decoder(Scheduler& scheduler)
      : scheduler_(scheduler),
        timer_([&clock = scheduler.clock_] { return clock.now_s(); }, scheduler.graph_.stages.size()),
        input_decoder_(scheduler.plan_, timer_) {}
  ~Decoder() override { scheduler_.add_costs(timer_); }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  /// Makes all items of one input. Throws Cancelled if the run stops.
  void decode(const std::shared_ptr<InputRun>& run, const ListedInput& listed) {
    run_ = run;
    scheduler_.report([&](Progress& progress) { progress.input_started(run->index, listed.name); });
    try {
      if (open(listed)) {
        hand_over(GraphStage::kInputs, stages::Item{input_, nullptr, {}});
        input_decoder_.decode(input_, *this);
      }
    } catch (const Cancelled&) {
      input_.reset();
      run_.reset();
      if (scheduler_.stopping()) throw;
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
      input_ = std::make_shared<const stages::InputFile>(scheduler_.probe_(listed.path, listed.name));
    } catch (const ItemError& error) {
      failed(GraphStage::kInputs, nullptr, error.code(), error.what());
      return false;
    } catch (const std::exception& error) {
      failed(GraphStage::kInputs, nullptr, kInternalError, error.what());
      return false;
    }
    std::optional<stages::InputResult> known;
    if (scheduler_.history_ != nullptr) known = scheduler_.history_->find(*input_);
    const std::lock_guard lock(scheduler_.mutex_);
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
    for (std::size_t i = 0; i < scheduler_.graph_.stages.size(); ++i) {
      const int stage = static_cast<int>(i);
      if (!scheduler_.plan_.takes(stage, source, *type)) continue;
      taken = true;
      if (scheduler_.graph_.stages[i].language) takers.push_back(stage);
    }
    if (source == GraphStage::kInputs && taken) {
      const std::lock_guard lock(scheduler_.mutex_);
      run_->builder.set_taken();
    }
    if (!takers.empty()) scheduler_.enqueue({run_, item, std::move(takers), 0});
  }

  void emitted(int stage, stages::Item item, bool is_new) override {
    check_cancelled();
    const std::shared_ptr<const stages::Unit> unit = item.unit;
    if (unit) {
      bool doubled = false;
      {
        const std::lock_guard lock(scheduler_.mutex_);
        doubled = is_new && !run_->builder.add_unit(unit);
        if (!doubled) run_->builder.add_frames(*unit, item.pictures);
        if (is_new && !doubled) run_->units[unit.get()];
      }
      if (doubled) give_up(stage, unit, "unit " + std::to_string(unit->index) + " was emitted twice");
      if (is_new) scheduler_.report([&](Progress& progress) { progress.unit_found(run_->index); });
    }
    hand_over(stage, item);
  }

  void unit_closed(const std::shared_ptr<const stages::Unit>& unit) override {
    bool done = false;
    {
      const std::lock_guard lock(scheduler_.mutex_);
      InputRun::UnitWork& work = run_->units[unit.get()];
      work.closed = true;
      done = work.pending == 0;
      if (done) run_->units.erase(unit.get());
    }
    if (done) scheduler_.report_unit_done(run_->index);
  }

  void failed(int stage, std::shared_ptr<const stages::Unit> unit, const std::string& code,
              const std::string& message) override {
    scheduler_.add_error(*run_, stage, std::move(unit), code, message);
  }

  /// The input is given up: the workers unwind as they do when a run stops.
  [[noreturn]] void give_up(int stage, std::shared_ptr<const stages::Unit> unit, const std::string& message) {
    failed(stage, std::move(unit), kInternalError, message);
    {
      const std::lock_guard lock(scheduler_.mutex_);
      run_->given_up = true;
    }
    throw Cancelled{};
  }

  bool stopped() const override {
    const std::lock_guard lock(scheduler_.mutex_);
    return scheduler_.stopping_ || run_->given_up;
  }
  void check_cancelled() const {
    if (stopped()) throw Cancelled{};
  }

  void advanced(double part) override {
    scheduler_.report([&](Progress& progress) { progress.input_advanced(run_->index, part); });
  }

  std::size_t count_tokens(std::string_view text) const override {
    const engine::Engine* engine = scheduler_.engine_;
    return engine != nullptr ? engine->tokenizer().encode(text).size() : DecodeEvents::count_tokens(text);
  }

  Scheduler& scheduler_;
  StageTimer timer_;
  stages::InputDecoder input_decoder_;
  std::shared_ptr<InputRun> run_;
  std::shared_ptr<const stages::InputFile> input_;
};

void Scheduler::begin_stop() {
  const std::lock_guard lock(mutex_);
  stopping_ = true;
  engine_wakes_.notify_all();
  decoders_wake_.notify_all();
}

std::shared_ptr<InputRun> Scheduler::next_input(std::size_t& index) {
  std::unique_lock lock(mutex_);
  const auto in_flight = static_cast<std::size_t>(graph_.limits.inputs_in_flight);
  decoders_wake_.wait(lock,
                      [&] { return stopping_ || next_ == inputs_.size() || next_ < written_ + in_flight; });
  if (stopping_ || next_ == inputs_.size()) return nullptr;
  index = next_++;
  stages::InputFile listed;
  listed.name = inputs_[index].name;
  listed.path = inputs_[index].path;
  auto run =
      std::make_shared<InputRun>(graph_, index, std::make_shared<const stages::InputFile>(std::move(listed)));
  window_.emplace(index, run);
  return run;
}

void Scheduler::decode_inputs() {
  try {
    Decoder decoder(*this);
    std::size_t index = 0;
    while (const auto run = next_input(index)) {
      decoder.decode(run, inputs_[index]);
      const std::lock_guard lock(mutex_);
      run->decoded = true;
      engine_wakes_.notify_all();
    }
  } catch (const Cancelled&) {
    // The run stops: the input in hand stays undecoded and is dropped.
  } catch (...) {
    {
      const std::lock_guard lock(mutex_);
      if (!failure_) failure_ = std::current_exception();
    }
    begin_stop();
  }
}

void Scheduler::enqueue(QueuedItem work) {
  work.bytes = kItemBytes + work.item.picture_bytes() + work.item.text_bytes();
  std::unique_lock lock(mutex_);
  // An item larger than the whole bound goes alone.
  decoders_wake_.wait(lock, [&] {
    return stopping_ || queue_bytes_ == 0 || queue_bytes_ + work.bytes <= graph_.limits.queue_bytes;
  });
  if (stopping_) throw Cancelled{};
  queue_bytes_ += work.bytes;
  ++work.run->pending;
  if (work.item.unit) {
    ++work.run->units[work.item.unit.get()].pending;
    for (std::size_t i = 0; i < work.stages.size(); ++i) work.run->builder.add_attempt(*work.item.unit);
  }
  queue_.push_back(std::move(work));
  engine_wakes_.notify_all();
}

void Scheduler::add_costs(const StageTimer& timer) {
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < costs_.size(); ++i) {
    costs_[i].seconds += timer.costs()[i].seconds;
    costs_[i].items += timer.costs()[i].items;
  }
}

/// The finished inputs at the front of the window, in order; they leave it.
std::vector<std::shared_ptr<InputRun>> Scheduler::take_finished() {
  std::vector<std::shared_ptr<InputRun>> finished;
  while (!window_.empty() && window_.begin()->first == written_ + finished.size() &&
         window_.begin()->second->finished()) {
    finished.push_back(std::move(window_.begin()->second));
    window_.erase(window_.begin());
  }
  return finished;
}

void Scheduler::write(InputRun& run) {
  const bool reused = run.reused.has_value();
  const stages::InputResult result = reused ? std::move(*run.reused) : run.builder.finish();
  if (history_ != nullptr && !reused) history_->record(result);
  sink_.write(result);
  ++summary_.inputs;
  summary_.units += result.units.size();
  if (reused) ++summary_.reused;
  switch (result.status) {
    case stages::InputStatus::ok:
      ++summary_.ok;
      break;
    case stages::InputStatus::partial:
      ++summary_.partial;
      break;
    case stages::InputStatus::failed:
      ++summary_.failed;
      break;
    case stages::InputStatus::skipped:
      ++summary_.skipped;
      break;
  }
  report([&](Progress& progress) { progress.input_done(run.index, result); });
}

void Scheduler::work() {
  std::unique_lock lock(mutex_);
  while (written_ < inputs_.size()) {
    auto finished = take_finished();
    if (!finished.empty()) {
      for (auto& run : finished) {
        lock.unlock();
        write(*run);
        run.reset();
        lock.lock();
        ++written_;
        decoders_wake_.notify_all();
      }
      continue;
    }
    if (stopping_) return;
    if (!queue_.empty()) {
      QueuedItem item = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      answer(std::move(item));
      lock.lock();
      continue;
    }
    engine_wakes_.wait(lock);
  }
}

void Scheduler::answer(QueuedItem work) {
  InputRun& run = *work.run;
  std::vector<int> stages;
  std::vector<std::vector<engine::Request>> requests;
  for (int stage : work.stages) {
    {
      const std::lock_guard lock(mutex_);
      ++costs_[stage + 1].items;
    }
    try {
      if (!work.item.unit) throw std::logic_error("a language stage received an item without a unit");
      requests.push_back(graph_.stages[stage].language->requests(work.item));
      stages.push_back(stage);
    } catch (const ItemError& error) {
      add_error(run, stage, work.item.unit, error.code(), error.what());
    } catch (const std::exception& error) {
      add_error(run, stage, work.item.unit, kInternalError, error.what());
    }
  }
  // One request that the model cannot take fails the joint call before any work is done;
  // alone, it costs only the stage that made it.
  if (!stages.empty() && !ask(work, stages, requests)) {
    for (std::size_t i = 0; i < stages.size() && !stop_.stop_requested(); ++i) {
      ask(work, std::span(stages).subspan(i, 1), std::span(requests).subspan(i, 1));
    }
  }
  if (stop_.stop_requested()) return;  // cut off: the input is dropped

  bool unit_done = false;
  const stages::Unit* unit = work.item.unit.get();
  {
    const std::lock_guard lock(mutex_);
    queue_bytes_ -= work.bytes;
    --run.pending;
    if (const auto found = run.units.find(unit); found != run.units.end()) {
      unit_done = --found->second.pending == 0 && found->second.closed;
      if (unit_done) run.units.erase(found);
    }
    decoders_wake_.notify_all();
  }
  if (unit_done) report_unit_done(run.index);
}

/// One engine call for `requests[i]` of `stages[i]`. False: the model cannot take a request of
/// some stage, of which there are several.
bool Scheduler::ask(const QueuedItem& work, std::span<const int> stages,
                    std::span<const std::vector<engine::Request>> requests) {
  std::vector<engine::Request> all;
  for (const auto& list : requests) all.insert(all.end(), list.begin(), list.end());
  std::vector<engine::Answer> answers;
  const double start_s = clock_.now_s();
  try {
    if (!all.empty()) answers = engine_->answer(all, stop_);
  } catch (const engine::RequestError& error) {
    if (stages.size() > 1) return false;
    add_error(*work.run, stages[0], work.item.unit, "request.refused", error.what());
    return true;
  }
  if (stop_.stop_requested()) return true;
  if (answers.size() != all.size()) throw std::logic_error("the engine returned another number of answers");
  share_out(clock_.now_s() - start_s, stages, requests, answers);
  std::size_t first = 0;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    take_answers(work, stages[i], std::span(answers).subspan(first, requests[i].size()));
    first += requests[i].size();
  }
  return true;
}

void Scheduler::take_answers(const QueuedItem& work, int stage, std::span<const engine::Answer> answers) {
  try {
    stages::Json value = graph_.stages[stage].language->result(work.item, answers);
    const std::lock_guard lock(mutex_);
    work.run->builder.add_result(stage, *work.item.unit, std::move(value));
  } catch (const ItemError& error) {
    add_error(*work.run, stage, work.item.unit, error.code(), error.what());
  } catch (const std::exception& error) {
    add_error(*work.run, stage, work.item.unit, kInternalError, error.what());
  }
}

void Scheduler::share_out(double seconds, std::span<const int> stages,
                          std::span<const std::vector<engine::Request>> requests,
                          std::span<const engine::Answer> answers) {
  const auto computed = [](const engine::Answer& answer) {
    return static_cast<double>(answer.prompt_tokens - answer.shared_prompt_tokens + answer.generated_tokens);
  };
  double total = 0;
  for (const engine::Answer& answer : answers) total += computed(answer);
  const std::lock_guard lock(mutex_);
  std::size_t next = 0;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    RunSummary::StageCost& cost = costs_[stages[i] + 1];
    for (std::size_t k = 0; k < requests[i].size(); ++k, ++next) {
      const engine::Answer& answer = answers[next];
      if (total > 0) cost.seconds += seconds * computed(answer) / total;
      cost.prompt_tokens += static_cast<std::uint64_t>(answer.prompt_tokens);
      cost.generated_tokens += static_cast<std::uint64_t>(answer.generated_tokens);
    }
  }
}

void Scheduler::tick_until(std::stop_token ended) {
  std::mutex mutex;
  std::condition_variable_any never;
  std::unique_lock lock(mutex);
  const std::chrono::duration<double> tick(Progress::kTickS);
  while (!ended.stop_requested()) {
    never.wait_for(lock, ended, tick, [] { return false; });
    if (ended.stop_requested()) return;
    const engine::EngineStats stats = engine_stats();
    report([&](Progress& progress) { progress.tick(stats); });
  }
}

RunSummary Scheduler::run() {
  if (graph_.needs_model() && engine_ == nullptr)
    throw std::logic_error("the graph needs a model, and there is none");
  std::vector<std::uint64_t> sizes;
  for (const ListedInput& input : inputs_) sizes.push_back(input.size_bytes);
  report([&](Progress& progress) { progress.run_started(sizes); });
  {
    const std::stop_callback on_stop(stop_, [this] { begin_stop(); });
    /// Stops and joins the decoders however the scope is left.
    struct Threads {
      explicit Threads(Scheduler& scheduler_) : scheduler(scheduler_) {}
      ~Threads() {
        scheduler.begin_stop();
        for (std::thread& thread : threads) thread.join();
      }
      Threads(const Threads&) = delete;
      Threads& operator=(const Threads&) = delete;
      Scheduler& scheduler;
      std::vector<std::thread> threads;
    };
    Threads decoders(*this);
    const std::size_t count =
        std::min(static_cast<std::size_t>(std::max(graph_.limits.decoders, 1)), inputs_.size());
    decoders.threads.reserve(count);
    for (std::size_t i = 0; i < count; ++i) decoders.threads.emplace_back([this] { decode_inputs(); });
    const std::jthread ticker([this](std::stop_token ended) { tick_until(std::move(ended)); });
    work();
  }
  if (failure_) std::rethrow_exception(failure_);
  summary_.interrupted = written_ < inputs_.size();
  if (!summary_.interrupted) sink_.finish();
  summary_.stage_costs["inputs"] = costs_[0];
  for (std::size_t i = 0; i < graph_.stages.size(); ++i)
    summary_.stage_costs[graph_.stages[i].name] = costs_[i + 1];
  report([](Progress& progress) { progress.run_finished(); });
  return summary_;
}

}  // namespace

RunSummary run_graph(const Graph& graph, const std::vector<ListedInput>& inputs, engine::Engine* engine,
                     stages::Sink& sink, Progress& progress, std::stop_token stop,
                     const RunOptions& options) {
  return Scheduler(graph, inputs, engine, sink, progress, std::move(stop), options).run();
}

}  // namespace reelfolio::pipeline
