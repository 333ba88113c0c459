#pragma once

#include <atomic>
#include <functional>
#include <stop_token>
#include <thread>

namespace reelfolio::cli {

/// Turns SIGINT and SIGTERM into a stop request while it lives. The first one calls
/// `on_first` (on a thread of its own) and asks to stop; the second ends the process at
/// once with 130 or 143.
///
/// Make it before any other thread: threads inherit that the signals are blocked.
class Interrupts {
 public:
  explicit Interrupts(std::function<void()> on_first);
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  std::stop_token token() const { return stop_.get_token(); }
  /// SIGINT or SIGTERM, whichever came first; 0: none.
  int signal() const { return signal_; }

 private:
  void watch(const std::function<void()>& on_first);

  std::stop_source stop_;
  std::atomic<int> signal_{0};
  int signals_ = -1;  ///< signalfd
  int done_ = -1;     ///< eventfd that ends the thread
  std::thread thread_;
};

}  // namespace reelfolio::cli
