#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <stop_token>
#include <thread>
#include <vector>

#include "cli/exit_code.h"

namespace reelfolio::cli {

/// Turns SIGINT, SIGTERM and SIGHUP into a stop request while it lives; a signal that is
/// ignored when it is made (nohup) stays ignored. The first one calls `on_first` (on a thread of
/// its own) and asks to stop. A second one, or kGrace going by, ends the process at once,
/// after `on_forced`: some work (a page in Poppler, a model being loaded) cannot be cut short.
///
/// Make it before any other thread: threads inherit that the signals are blocked.
class Interrupts {
 public:
  /// What an orderly stop may take.
  static constexpr std::chrono::milliseconds kGrace{1500};

  /// Either callback may be empty.
  explicit Interrupts(std::function<void()> on_first, std::function<void()> on_forced = {});
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  std::stop_token token() const { return stop_.get_token(); }
  /// The signal that came first; 0: none.
  int signal() const { return signal_; }
  /// 128 + signal(). There was one.
  ExitCode exit_code() const { return static_cast<ExitCode>(128 + signal_); }
  /// The orderly stop is as good as done: time alone does not end the process any more.
  void stopped_in_time() { in_time_ = true; }

 private:
  void watch();
  [[noreturn]] void end_now(int signal);

  std::function<void()> on_first_;
  std::function<void()> on_forced_;
  std::vector<int> watched_;
  std::stop_source stop_;
  std::atomic<int> signal_{0};
  std::atomic<bool> in_time_{false};
  int signals_ = -1;  ///< signalfd
  int done_ = -1;     ///< eventfd that ends the thread
  std::thread thread_;
};

}  // namespace reelfolio::cli
