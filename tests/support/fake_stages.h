#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"
#include "pipeline/clock.h"
#include "pipeline/graph.h"
#include "pipeline/progress.h"
#include "pipeline/scheduler.h"
#include "stages/stage.h"

/// A table of stages, a probe, an engine and a sink that need no media and no model.
///
/// What a fake input holds stands in its path, words separated by ':'. The first is the kind:
/// "video:3" (three scenes), "pdf:2", "image", "text", "unknown", "gone" (cannot be opened).
/// Further words:
///   bad1       scene or page 1 fails in the stage that cuts it (an error, and it goes on)
///   blind1     sample_frames throws ItemError for scene 1
///   truncated  the cutting stage throws ItemError at the end
///   breaks1    the cutting stage throws std::runtime_error before unit 1
///   scans1     before unit 1, works on until the run stops
///   big        pictures of 1 MB rather than 300 bytes
///   id=...     tells inputs apart
namespace reelfolio::test {

/// ask, caption, extract, read_images, render_pages, sample_frames, split_scenes, transcribe.
/// The prompt of a caption stage that is "refuse" makes the engine refuse its requests for units
/// with an odd index; "unanswerable" makes requests() throw ItemError.
std::span<const stages::StageType> fake_stage_types();

/// The graph of these lines, --set applied, over fake_stage_types(). Throws ConfigError.
pipeline::Graph graph_of(std::string_view yaml, const std::vector<std::string>& settings = {});

stages::InputFile fake_probe(const std::filesystem::path& path, const std::string& name);

/// While it lives, fake workers sleep for up to `max_ms` milliseconds now and then.
class RandomDelays {
 public:
  explicit RandomDelays(int max_ms);
  ~RandomDelays();
};

class FakeEngine : public engine::Engine {
 public:
  std::vector<engine::Answer> answer(
      std::span<const engine::Request> requests, std::stop_token stop = {},
      const std::function<void(std::size_t, std::string_view)>& on_text = {}) override;
  /// Holds up to max_sequences requests and answers their sets in an order of its own.
  void serve(engine::RequestSource& source, const engine::ServeOptions& options,
             std::stop_token stop = {}) override;
  const engine::ModelConfig& config() const override { throw std::logic_error("the fake has no config"); }
  const engine::Tokenizer& tokenizer() const override { throw std::logic_error("the fake has no tokenizer"); }
  engine::EngineStats stats() const override;
  const std::string& fingerprint() const override { return fingerprint_; }
  engine::ops::WeightType weights() const override { return engine::ops::WeightType::f32; }
  engine::text::KvType kv_cache() const override { return engine::text::KvType::f32; }

  std::vector<std::size_t> group_sizes;     ///< sets of each group that was taken
  std::size_t most_open = 0;                ///< requests open at once
  std::size_t sets = 0;                     ///< sets answered or refused
  std::function<void(std::size_t)> on_set;  ///< called with the set's number, from 1, as it is answered
  std::size_t fail_at_set = 0;              ///< there serve throws std::runtime_error; 0: nowhere
  double seconds_a_request = 0;

 private:
  std::string fingerprint_ = "fake";
  std::atomic<std::uint64_t> tokens_{0};
};

/// Keeps what it is given.
class RecordingSink : public stages::Sink {
 public:
  void write(const stages::InputResult& result) override;
  void finish() override { finished = true; }

  std::vector<stages::InputResult> results;
  std::string text;  ///< all results as JSON, one a line: equal for equal results
  bool finished = false;
  std::function<void(std::size_t)> on_write;  ///< called with the number of results so far
};

/// Counts events and checks that they come one at a time.
class CountingProgress : public pipeline::Progress {
 public:
  void run_started(std::span<const std::uint64_t> sizes) override;
  void input_started(std::size_t input, const std::string& name) override;
  void input_advanced(std::size_t input, double part) override;
  void unit_found(std::size_t input) override;
  void unit_done(std::size_t input, const engine::EngineStats& stats) override;
  void input_done(std::size_t input, const stages::InputResult& result) override;
  void tick(const engine::EngineStats& stats) override;
  void run_finished() override;

  std::size_t announced = 0, started = 0, found = 0, done = 0, inputs = 0, ticks = 0, finishes = 0;
  std::atomic<bool> overlapped{false};
  std::function<void()> on_tick;

 private:
  template <class F>
  void alone(F&& f);
  std::atomic<int> inside_{0};
};

/// A clock that stands still until it is moved.
class FakeClock : public pipeline::Clock {
 public:
  double now_s() const override { return now.load(); }
  std::atomic<double> now{100};
};

}  // namespace reelfolio::test
