#include "cli/interrupts.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <system_error>
#include <utility>

namespace reelfolio::cli {

namespace {

bool is_ignored(int signal) {
  struct sigaction action {};
  return sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

sigset_t set_of(const std::vector<int>& signals) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : signals) sigaddset(&set, signal);
  return set;
}

}  // namespace

Interrupts::Interrupts(std::function<void()> on_first, std::function<void()> on_forced)
    : on_first_(std::move(on_first)), on_forced_(std::move(on_forced)) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    // A signalfd would receive what is ignored all the same.
    if (!is_ignored(signal)) watched_.push_back(signal);
  }
  const sigset_t set = set_of(watched_);
  signals_ = signalfd(-1, &set, SFD_CLOEXEC);
  done_ = eventfd(0, EFD_CLOEXEC);
  if (signals_ < 0 || done_ < 0) throw std::system_error(errno, std::generic_category(), "signalfd");
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  thread_ = std::thread([this] { watch(); });
}

Interrupts::~Interrupts() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(done_, &one, sizeof one);
  thread_.join();
  const sigset_t set = set_of(watched_);
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  close(signals_);
  close(done_);
}

void Interrupts::end_now(int signal) {
  if (on_forced_) on_forced_();
  _exit(128 + signal);
}

void Interrupts::watch() {
  std::chrono::steady_clock::time_point deadline;
  for (;;) {
    int timeout_ms = -1;
    if (signal_ != 0 && !in_time_) {
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
      timeout_ms = static_cast<int>(std::max<std::int64_t>(left.count(), 0));
    }
    std::array<pollfd, 2> waiting = {{{signals_, POLLIN, 0}, {done_, POLLIN, 0}}};
    const int ready = poll(waiting.data(), waiting.size(), timeout_ms);
    if (ready < 0) continue;
    if (waiting[1].revents != 0) return;
    if (ready == 0) {
      if (!in_time_) end_now(signal_);
      continue;
    }
    signalfd_siginfo info{};
    if (read(signals_, &info, sizeof info) != sizeof info) continue;
    const int number = static_cast<int>(info.ssi_signo);
    if (signal_ != 0) end_now(number);
    deadline = std::chrono::steady_clock::now() + kGrace;
    signal_ = number;
    if (on_first_) on_first_();
    stop_.request_stop();
  }
}

}  // namespace reelfolio::cli
