#include "stages/decoder/server.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <map>
#include <new>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>

#include "stages/decoder/process.h"
#include "stages/decoder/sandbox.h"

namespace reelfolio::stages {
namespace {

constexpr std::size_t kMostMissingBytes = 4096;
/// Processes that wait for their input. Making one ahead takes a millisecond or two off the next input.
constexpr std::size_t kMostWaiting = 2;

/// The descriptors that come with a request for a process, in this order.
/// The last stays with the server.
enum Passed { kInput, kSocket, kMemory, kErrors, kEnd, kNumPassed };

std::uint64_t shared_bytes(const DecoderLimits& limits) {
  return SharedState::kBytes + limits.memory_bytes;
}

void die_with(pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(0);  // it died before that took effect
}

/// Closes everything but stderr and `kept`, which becomes descriptor 3 and is returned.
int close_all_but(int kept) {
  constexpr int kFirst = 3;
  if (kept != kFirst) {
    dup3(kept, kFirst, O_CLOEXEC);
    kept = kFirst;
  }
  if (syscall(SYS_close_range, kFirst + 1, ~0U, 0) != 0) {
    const auto last = static_cast<int>(sysconf(_SC_OPEN_MAX));
    for (int fd = kFirst + 1; fd < last; ++fd) close(fd);
  }
  const int null = open("/dev/null", O_RDWR);
  if (null >= 0) {
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    if (null > STDERR_FILENO) close(null);
  }
  return kept;
}

bool has_sanitizer() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
  return true;
#endif
#endif
  return false;
}

SandboxLimits sandbox_limits(const DecoderLimits& limits) {
  const double processors = std::max(1U, std::thread::hardware_concurrency());
  // Decoders use several threads; the parent stops the clock that people set.
  return {limits.memory_bytes, limits.time_s * processors + 60};
}

/// The process that forks the others. One thread; ends when its parent hangs up.
///
/// A child is
///   waiting   forked and shut in but for the files, without any input; it receives the descriptors of one
///   working   on that input, until it ends
class Server {
 public:
  Server(const DecodePlan& plan, const DecoderLimits& limits,
         const std::vector<std::filesystem::path>& readable, int control)
      : plan_(plan), limits_(limits), sandbox_(sandbox_limits(limits), readable), control_(control) {
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    sigprocmask(SIG_SETMASK, &children, nullptr);
    signals_ = Descriptor(signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK));
  }

  void run() {
    report_missing();
    for (;;) {
      std::vector<pollfd> events = {{control_, POLLIN, 0}, {signals_.get(), POLLIN, 0}};
      // No events asked for: only the hang-up of the parent's end shows.
      for (const auto& [pid, end] : working_) events.push_back({end.get(), 0, 0});
      // What is asked for goes first; there is time to fork ahead when nothing is.
      const bool ahead = waiting_.size() < kMostWaiting && !cannot_fork_;
      const int ready = poll(events.data(), events.size(), ahead ? 0 : -1);
      if (ready == 0 && ahead) fork_ahead();
      if (ready <= 0) continue;
      std::size_t next = 2;
      for (auto& [pid, end] : working_) {
        if (events[next++].revents == 0) continue;
        kill(pid, SIGKILL);
        end.reset();  // nobody listens
      }
      if (events[1].revents != 0) reap();
      if (events[0].revents != 0 && !start_one()) return;
    }
  }

 private:
  /// A child that does nothing tells what of the sandbox is to be had here.
  void report_missing() {
    auto [ours, theirs] = socket_pair();
    const pid_t server = getpid();
    const pid_t pid = fork();
    if (pid == 0) {
      die_with(server);
      std::string text;
      for (const std::string& part : sandbox_.enter()) text += part + "\n";
      for (const std::string& part : sandbox_.admit(-1)) text += part + "\n";
      text.resize(std::min(text.size() + 1, kMostMissingBytes));
      send_message(theirs.get(), {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
      _exit(0);
    }
    theirs.reset();
    auto text = receive_message(ours.get(), kMostMissingBytes);
    if (!text) {
      const std::string nothing = "everything (the trial ended early)\n";
      text.emplace(nothing.begin(), nothing.end());
    }
    if (pid > 0) waitpid(pid, nullptr, 0);
    send_message(control_, *text);
  }

  /// One more waiting child; errno tells why there is none.
  bool fork_ahead() {
    auto [ours, theirs] = socket_pair();
    const pid_t server = getpid();
    const pid_t pid = fork();
    if (pid == 0) {
      ours.reset();
      _exit(child(server, std::move(theirs)));
    }
    cannot_fork_ = pid < 0;
    if (pid > 0) waiting_.emplace(pid, std::move(ours));
    return pid > 0;
  }

  /// False once the parent is gone.
  bool start_one() {
    std::vector<Descriptor> fds;
    if (!receive_message(control_, 1, &fds)) return false;
    if (fds.size() != kNumPassed) return true;
    for (;;) {
      if (waiting_.empty() && !fork_ahead()) {
        tell_end(fds[kEnd], {-1, errno});
        return true;
      }
      const auto [pid, socket] = std::move(*waiting_.begin());
      waiting_.erase(waiting_.begin());
      int passed[kEnd];
      std::transform(fds.begin(), fds.begin() + kEnd, passed, [](const Descriptor& fd) { return fd.get(); });
      const std::uint8_t go = 1;
      if (!send_message(socket.get(), {&go, 1}, passed)) continue;  // it was killed while it waited
      working_.emplace(pid, std::move(fds[kEnd]));
      return true;
    }
  }

  int child(pid_t server, Descriptor socket) {
    die_with(server);
    signals_.reset();
    close(control_);
    waiting_.clear();
    working_.clear();
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    prctl(PR_SET_NAME, "decoder");
    sandbox_.enter();
    std::vector<Descriptor> fds;
    if (!receive_message(socket.get(), 1, &fds) || fds.size() != kEnd) return 0;  // not needed any more
    socket.reset();
    sandbox_.admit(fds[kInput].get());
    // The reports of sanitizers are for whoever runs the program.
    if (!has_sanitizer()) dup2(fds[kErrors].get(), STDERR_FILENO);
    fds[kErrors].reset();
    const SharedMemory memory(std::move(fds[kMemory]), shared_bytes(limits_));
    return run_decoder_process(plan_, fds[kInput].get(), fds[kSocket].get(), memory);
  }

  void reap() {
    signalfd_siginfo info{};
    while (read(signals_.get(), &info, sizeof info) == sizeof info) {
    }
    int status = 0;
    for (pid_t pid = 0; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
      waiting_.erase(pid);
      const auto child = working_.find(pid);
      if (child == working_.end()) continue;
      tell_end(child->second, {status, 0});
      working_.erase(child);
    }
    cannot_fork_ = false;  // there is room for another process now
  }

  static void tell_end(const Descriptor& to, const ProcessEnd& end) {
    send_message(to.get(), {reinterpret_cast<const std::uint8_t*>(&end), sizeof end});
  }

  const DecodePlan& plan_;
  const DecoderLimits& limits_;
  Sandbox sandbox_;
  int control_;
  Descriptor signals_;
  std::map<pid_t, Descriptor> waiting_;  ///< with the socket that brings the input
  std::map<pid_t, Descriptor> working_;  ///< with the socket that hears of their end
  bool cannot_fork_ = false;             ///< just now; asked again when a child has ended, or is needed
};

[[noreturn]] void serve(const DecodePlan& plan, const DecoderLimits& limits,
                        const std::vector<std::filesystem::path>& readable, int control, pid_t parent) {
  die_with(parent);
  // Signals of the terminal go to all of a job; the parent decides what they mean.
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGXFSZ}) std::signal(signal, SIG_IGN);
  std::signal(SIGCHLD, SIG_DFL);
  prctl(PR_SET_NAME, "decoder-server");
  control = close_all_but(control);
  try {
    Server(plan, limits, readable, control).run();
  } catch (const std::exception&) {
    _exit(kExitInternal);
  }
  _exit(0);
}

std::array<Descriptor, 2> pipe_that_does_not_block() {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0)
    throw std::system_error(errno, std::generic_category(), "pipe");
  return {Descriptor(fds[0]), Descriptor(fds[1])};
}

}  // namespace

DecoderServer::DecoderServer(const DecodePlan& plan, const DecoderLimits& limits,
                             const std::vector<std::filesystem::path>& readable)
    : plan_(plan), limits_(limits) {
  auto [ours, theirs] = socket_pair();
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ < 0) throw std::system_error(errno, std::generic_category(), "fork");
  if (pid_ == 0) serve(plan, limits, readable, theirs.get(), parent);
  theirs.reset();
  control_ = std::move(ours);
  const auto missing = receive_message(control_.get(), kMostMissingBytes);
  if (!missing) throw std::system_error(ECHILD, std::generic_category(), "the server of decoders ended");
  std::string line;
  for (const std::uint8_t byte : *missing) {
    if (byte == '\n') missing_.push_back(std::exchange(line, {}));
    if (byte != '\n' && byte != 0) line += static_cast<char>(byte);
  }
}

DecoderServer::~DecoderServer() {
  control_.reset();
  waitpid(pid_, nullptr, 0);
}

DecoderServer::Process DecoderServer::start(int input_fd) try {
  auto [socket, their_socket] = socket_pair();
  auto [end, their_end] = socket_pair();
  auto [errors, their_errors] = pipe_that_does_not_block();
  SharedMemory memory(shared_bytes(limits_));
  new (SharedView(memory, 0, SharedState::kBytes).data()) SharedState;
  int fds[kNumPassed] = {};
  fds[kInput] = input_fd;
  fds[kSocket] = their_socket.get();
  fds[kMemory] = memory.fd();
  fds[kErrors] = their_errors.get();
  fds[kEnd] = their_end.get();
  const std::uint8_t please = 1;
  const std::lock_guard lock(mutex_);
  if (!send_message(control_.get(), {&please, 1}, fds)) {
    throw DecoderServerError("the process that starts decoders has ended");
  }
  return {std::move(socket), std::move(end), std::move(errors), std::move(memory)};
} catch (const std::system_error& error) {
  throw DecoderServerError("no decoder process can be started: " + std::string(error.what()));
}

}  // namespace reelfolio::stages
