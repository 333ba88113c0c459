#include "stages/decoder/decode.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <new>
#include <optional>
#include <string>
#include <utility>

#include "stages/probe.h"

namespace reelfolio::stages {

bool DecodePlan::takes(int stage, int source, ItemType type) const {
  const auto& [name, transform, from, receives] = stages[stage];
  return std::find(from.begin(), from.end(), source) != from.end() &&
         std::find(receives.begin(), receives.end(), type) != receives.end();
}

void StageTimer::add(const std::vector<Cost>& costs) {
  for (std::size_t i = 0; i < costs_.size(); ++i) {
    costs_[i].seconds += costs[i].seconds;
    costs_[i].items += costs[i].items;
  }
}

void StageTimer::charge() {
  const double now_s = now_s_();
  if (!nested_.empty() && nested_.back() != kNobody) costs_[nested_.back() + 1].seconds += now_s - since_s_;
  since_s_ = now_s;
}

class InputDecoder::StageEmitter : public Emitter {
 public:
  StageEmitter(InputDecoder& decoder, int stage, DecodeEvents& events)
      : decoder_(decoder), stage_(stage), events_(events) {}
  void emit(Item item) override { decoder_.emitted(stage_, std::move(item), events_); }
  void error(const ItemError& error, std::shared_ptr<const Unit> unit) override {
    if (events_.stopped()) throw Cancelled{};
    events_.failed(stage_, std::move(unit), error.code(), error.what());
  }
  bool stopped() const override { return events_.stopped(); }
  std::size_t count_tokens(std::string_view text) const override { return events_.count_tokens(text); }
  void advanced(double part) override {
    // Only the stages that open the input know how much of it there is.
    const std::vector<int>& from = decoder_.plan_.stages[stage_].from;
    if (std::find(from.begin(), from.end(), DecodePlan::kInputs) != from.end()) events_.advanced(part);
  }

 private:
  InputDecoder& decoder_;
  int stage_;
  DecodeEvents& events_;
};

InputFile InputDecoder::probe(const std::filesystem::path& path, const std::string& name,
                              const std::function<bool()>& stopped) {
  return probe_input(path, name, stopped);
}

namespace {

/// What shows that a file is written to; absent: there is no such file (any more).
struct FileState {
  std::uint64_t size = 0;
  timespec modified{};
  static std::optional<FileState> of(const std::filesystem::path& path) {
    struct stat status {};
    if (stat(path.c_str(), &status) != 0) return std::nullopt;
    return FileState{static_cast<std::uint64_t>(status.st_size), status.st_mtim};
  }
  bool operator==(const FileState& other) const {
    return size == other.size && modified.tv_sec == other.modified.tv_sec &&
           modified.tv_nsec == other.modified.tv_nsec;
  }
};

}  // namespace

void InputDecoder::decode(const std::shared_ptr<const InputFile>& input, DecodeEvents& events) {
  input_ = input;
  const std::optional<FileState> before = FileState::of(input->path);
  try {
    if (before && before->size != input->size_bytes) {
      events.failed(DecodePlan::kInputs, nullptr, kInputChanged,
                    "has " + std::to_string(before->size) + " bytes, and had " +
                        std::to_string(input->size_bytes) + " when it was looked at");
    } else {
      offer(DecodePlan::kInputs, Item{input, nullptr, {}}, events);
      end_input(events);
      const std::optional<FileState> after = FileState::of(input->path);
      // A file that is gone by name is open still, or was read to its end.
      if (before && after && !(*after == *before)) {
        events.failed(DecodePlan::kInputs, nullptr, kInputChanged, "changed while it was decoded");
      }
    }
  } catch (const Cancelled&) {
    // Workers that were left in the middle of something are not used again.
    for (auto& worker : workers_) worker.reset();
    input_.reset();
    throw;
  } catch (const BrokenDown&) {
    for (auto& worker : workers_) worker.reset();
  }
  input_.reset();
}

void InputDecoder::offer(int source, const Item& item, DecodeEvents& events) {
  const auto type = item_type(item);
  if (!type) return;
  for (std::size_t i = 0; i < plan_.stages.size(); ++i) {
    const int stage = static_cast<int>(i);
    if (plan_.stages[i].transform != nullptr && plan_.takes(stage, source, *type))
      process(stage, item, events);
  }
}

void InputDecoder::process(int stage, const Item& item, DecodeEvents& events) {
  const TimedStage timed(timer_, stage);
  timer_.count_item(stage);
  events.working(stage);
  const auto give_up = [&](const char* code, const char* message) {
    events.failed(stage, item.unit, code, message);
    throw BrokenDown{};
  };
  try {
    auto& worker = workers_[stage];
    if (!worker) worker = plan_.stages[stage].transform->make_worker();
    StageEmitter emitter(*this, stage, events);
    worker->process(item, emitter);
  } catch (const ItemError& error) {
    events.failed(stage, item.unit, error.code(), error.what());
  } catch (const Cancelled&) {
    throw;
  } catch (const BrokenDown&) {
    throw;
  } catch (const std::bad_alloc&) {
    give_up(kMemoryLimit, "needs more memory than there is");
  } catch (const std::exception& error) {
    give_up(kInternalError, error.what());
  } catch (...) {
    give_up(kInternalError, "an exception of unknown type");
  }
  if (events.stopped()) throw Cancelled{};  // a worker may have kept a Cancelled to itself
}

void InputDecoder::emitted(int stage, Item item, DecodeEvents& events) {
  item.input = input_;
  const bool is_new = item.unit && item.unit->producer == plan_.stages[stage].name;
  {
    const TimedStage waiting(timer_, StageTimer::kNobody);
    events.emitted(stage, item, is_new);
  }
  offer(stage, item, events);
  events.working(stage);
  if (is_new) events.unit_closed(item.unit);
}

void InputDecoder::end_input(DecodeEvents& events) {
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    if (!workers_[i]) continue;
    const int stage = static_cast<int>(i);
    const TimedStage timed(timer_, stage);
    events.working(stage);
    try {
      workers_[i]->end_input();
    } catch (const ItemError& error) {
      events.failed(stage, nullptr, error.code(), error.what());
    } catch (const std::exception& error) {
      events.failed(stage, nullptr, kInternalError, error.what());
      workers_[i].reset();
    }
  }
}

}  // namespace reelfolio::stages
