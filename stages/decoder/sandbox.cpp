#include "stages/decoder/sandbox.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <initializer_list>
#include <utility>

#include "stages/descriptor.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define REELFOLIO_MAPS_TERABYTES 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define REELFOLIO_MAPS_TERABYTES 1
#endif
#endif

namespace reelfolio::stages {
namespace {

void limit(int resource, rlim_t value) {
  rlimit both{};
  if (getrlimit(static_cast<__rlimit_resource_t>(resource), &both) != 0) return;
  if (both.rlim_max != RLIM_INFINITY) value = std::min(value, both.rlim_max);
  both = {value, value};
  setrlimit(static_cast<__rlimit_resource_t>(resource), &both);
}

#ifndef REELFOLIO_MAPS_TERABYTES
/// Bytes of address space and of private writable memory that the process has.
struct Memory {
  std::uint64_t space = 0;
  std::uint64_t data = 0;
};

Memory memory_now() {
  std::ifstream file("/proc/self/statm");
  std::uint64_t space = 0, resident = 0, shared = 0, text = 0, library = 0, data = 0;
  file >> space >> resident >> shared >> text >> library >> data;
  const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  return {space * page, data * page};
}
#endif

void set_limits(const SandboxLimits& limits) {
#ifndef REELFOLIO_MAPS_TERABYTES
  const Memory now = memory_now();
  limit(RLIMIT_DATA, now.data + limits.memory_bytes);
  // Room for the pictures on their way to the parent and for memory that is only reserved.
  limit(RLIMIT_AS, now.space + 3 * limits.memory_bytes + (std::uint64_t{1} << 30U));
#endif
  limit(RLIMIT_CPU, static_cast<rlim_t>(std::ceil(limits.cpu_s)));
  limit(RLIMIT_FSIZE, 0);
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_NOFILE, 256);
  std::ofstream("/proc/self/oom_score_adj") << "1000";
}

// The kernel's interface beyond what the headers of Debian 12 know.
struct RulesetAttributes {
  std::uint64_t files;
  std::uint64_t network;
  std::uint64_t scopes;
};
struct __attribute__((packed)) PathAttributes {
  std::uint64_t allowed;
  std::int32_t parent_fd;
};
constexpr long kCreateRuleset = 444;
constexpr long kAddRule = 445;
constexpr long kRestrictSelf = 446;
constexpr unsigned kAskVersion = 1;
constexpr int kPathBeneath = 1;
constexpr std::uint64_t kReadFile = 1U << 2U;
constexpr std::uint64_t kReadFolder = 1U << 3U;

/// What Landlock of this version can forbid.
RulesetAttributes all_rights(long version) {
  RulesetAttributes all{};
  all.files = (1U << 13U) - 1;
  if (version >= 2) all.files |= 1U << 13U;  // moving between folders
  if (version >= 3) all.files |= 1U << 14U;  // truncation
  if (version >= 5) all.files |= 1U << 15U;  // control of devices
  if (version >= 4) all.network = 3;         // TCP
  if (version >= 6) all.scopes = 3;          // abstract sockets, signals
  return all;
}

std::vector<std::filesystem::path> library_files() {
  std::vector<std::filesystem::path> paths = {"/usr",
                                              "/lib",
                                              "/lib64",
                                              "/etc/fonts",
                                              "/etc/ld.so.cache",
                                              "/etc/localtime",
                                              "/var/cache/fontconfig",
                                              "/proc/cpuinfo",
                                              "/proc/meminfo",
                                              "/proc/sys/vm",
                                              "/sys/devices/system/cpu",
                                              "/sys/kernel/mm/transparent_hugepage",
                                              "/dev/null",
                                              "/dev/urandom"};
  const auto add_under = [&](const char* variable, std::initializer_list<const char*> names) {
    const char* folder = std::getenv(variable);
    if (folder == nullptr || *folder != '/') return;
    for (const char* name : names) paths.push_back(std::filesystem::path(folder) / name);
  };
  // The user's own fonts, so that pages look the same as without isolation.
  add_under("HOME",
            {".fonts", ".fonts.conf", ".local/share/fonts", ".config/fontconfig", ".cache/fontconfig"});
  add_under("XDG_DATA_HOME", {"fonts"});
  add_under("XDG_CONFIG_HOME", {"fontconfig"});
  add_under("XDG_CACHE_HOME", {"fontconfig"});
  return paths;
}

bool allow(int ruleset, int fd, std::uint64_t files) {
  struct stat status {};
  if (fstat(fd, &status) != 0) return false;
  const PathAttributes rule{S_ISDIR(status.st_mode) ? files : files & kReadFile, fd};
  return syscall(kAddRule, ruleset, kPathBeneath, &rule, 0) == 0;
}

/// Open for reading nothing; none where Landlock is not to be had.
Descriptor make_ruleset() {
  const long version = syscall(kCreateRuleset, nullptr, 0, kAskVersion);
  if (version < 1) return {};
  const RulesetAttributes attributes = all_rights(version);
  const std::size_t size = version >= 6 ? 24 : version >= 4 ? 16 : 8;
  return Descriptor(static_cast<int>(syscall(kCreateRuleset, &attributes, size, 0)));
}

/// Stands in the filter where the process's own id belongs, which is not known yet.
constexpr std::uint32_t kOwnProcess = 0x7FEDCBA9;

/// The filter as libseccomp would load it; empty where it cannot be made.
std::vector<std::uint8_t> compile_filter() {
  // What is refused fails like something that may not be done; libraries expect that.
  const scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
  if (filter == nullptr) return {};
  bool complete = true;
  const auto allow_call = [&](int call) {
    complete = seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0) == 0 && complete;
  };
  const auto allow_if = [&](int call, scmp_arg_cmp condition) {
    complete = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, call, 1, &condition) == 0 && complete;
  };
  for (const int call : {
           // memory
           SCMP_SYS(brk),
           SCMP_SYS(mmap),
           SCMP_SYS(munmap),
           SCMP_SYS(mremap),
           SCMP_SYS(mprotect),
           SCMP_SYS(madvise),
           // files that are open, and looking for others
           SCMP_SYS(read),
           SCMP_SYS(readv),
           SCMP_SYS(pread64),
           SCMP_SYS(preadv),
           SCMP_SYS(lseek),
           SCMP_SYS(write),
           SCMP_SYS(writev),
           SCMP_SYS(close),
           SCMP_SYS(close_range),
           SCMP_SYS(dup),
           SCMP_SYS(dup2),
           SCMP_SYS(dup3),
           SCMP_SYS(fstat),
           SCMP_SYS(stat),
           SCMP_SYS(lstat),
           SCMP_SYS(newfstatat),
           SCMP_SYS(statx),
           SCMP_SYS(access),
           SCMP_SYS(faccessat),
           SCMP_SYS(faccessat2),
           SCMP_SYS(readlink),
           SCMP_SYS(readlinkat),
           SCMP_SYS(getcwd),
           SCMP_SYS(getdents64),
           SCMP_SYS(statfs),
           SCMP_SYS(fstatfs),
           SCMP_SYS(fadvise64),
           // the two ends that the process was given
           SCMP_SYS(poll),
           SCMP_SYS(ppoll),
           SCMP_SYS(select),
           SCMP_SYS(pselect6),
           SCMP_SYS(sendto),
           SCMP_SYS(recvfrom),
           SCMP_SYS(sendmsg),
           SCMP_SYS(recvmsg),
           // threads
           SCMP_SYS(futex),
           SCMP_SYS(futex_waitv),
           SCMP_SYS(set_robust_list),
           SCMP_SYS(get_robust_list),
           SCMP_SYS(rseq),
           SCMP_SYS(membarrier),
           SCMP_SYS(sched_yield),
           SCMP_SYS(sched_getaffinity),
           SCMP_SYS(sched_getparam),
           SCMP_SYS(sched_getscheduler),
           SCMP_SYS(getcpu),
           SCMP_SYS(exit),
           SCMP_SYS(exit_group),
           SCMP_SYS(set_tid_address),
           // giving up files, once the input has come; what is given up stays so
           static_cast<int>(kAddRule),
           static_cast<int>(kRestrictSelf),
           // signals to itself
           SCMP_SYS(rt_sigaction),
           SCMP_SYS(rt_sigprocmask),
           SCMP_SYS(rt_sigreturn),
           SCMP_SYS(sigaltstack),
           SCMP_SYS(restart_syscall),
           // questions
           SCMP_SYS(getpid),
           SCMP_SYS(gettid),
           SCMP_SYS(getppid),
           SCMP_SYS(getuid),
           SCMP_SYS(geteuid),
           SCMP_SYS(getgid),
           SCMP_SYS(getegid),
           SCMP_SYS(uname),
           SCMP_SYS(sysinfo),
           SCMP_SYS(times),
           SCMP_SYS(getrusage),
           SCMP_SYS(getrlimit),
           SCMP_SYS(clock_gettime),
           SCMP_SYS(clock_getres),
           SCMP_SYS(clock_nanosleep),
           SCMP_SYS(nanosleep),
           SCMP_SYS(gettimeofday),
           SCMP_SYS(time),
           SCMP_SYS(getrandom),
       }) {
    allow_call(call);
  }
#if defined(REELFOLIO_MAPS_TERABYTES)
  // UBSan looks through a pipe whether an object's memory can be read, and without takes each for a bad one.
  for (const int call : {SCMP_SYS(pipe), SCMP_SYS(pipe2)}) allow_call(call);
#endif
  constexpr int kWriting = O_ACCMODE | O_CREAT | O_TRUNC;
  allow_if(SCMP_SYS(openat), SCMP_A2(SCMP_CMP_MASKED_EQ, kWriting, O_RDONLY));
  allow_if(SCMP_SYS(open), SCMP_A1(SCMP_CMP_MASKED_EQ, kWriting, O_RDONLY));
  // Threads, no processes. What clone3 would do stands in memory, where no filter sees it.
  constexpr unsigned kThread = 0x00010000;
  allow_if(SCMP_SYS(clone), SCMP_A0(SCMP_CMP_MASKED_EQ, kThread, kThread));
  complete = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0) == 0 && complete;
  allow_if(SCMP_SYS(tgkill), SCMP_A0(SCMP_CMP_EQ, kOwnProcess, 0));
  allow_if(SCMP_SYS(prctl), SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME, 0));
  allow_if(SCMP_SYS(prlimit64), SCMP_A2(SCMP_CMP_EQ, 0, 0));
  for (const int command : {F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD, F_DUPFD_CLOEXEC}) {
    allow_if(SCMP_SYS(fcntl), SCMP_A1(SCMP_CMP_EQ, static_cast<scmp_datum_t>(command), 0));
  }
  std::vector<std::uint8_t> bytes;
  const Descriptor file(memfd_create("filter", MFD_CLOEXEC));
  if (complete && file && seccomp_export_bpf(filter, file.get()) == 0) {
    bytes.resize(static_cast<std::size_t>(std::max(lseek(file.get(), 0, SEEK_END), off_t{0})));
    if (pread(file.get(), bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) bytes.clear();
  }
  seccomp_release(filter);
  return bytes;
}

}  // namespace

Sandbox::Sandbox(const SandboxLimits& limits, const std::vector<std::filesystem::path>& readable)
    : limits_(limits) {
  std::vector<std::filesystem::path> paths = library_files();
  paths.insert(paths.end(), readable.begin(), readable.end());
  for (const std::filesystem::path& path : paths) {
    Descriptor fd(open(path.c_str(), O_PATH | O_CLOEXEC));
    if (fd) readable_.push_back(std::move(fd));
  }
  static_assert(sizeof(Instruction) == sizeof(sock_filter));
  const std::vector<std::uint8_t> filter = compile_filter();
  filter_.resize(filter.size() / sizeof(Instruction));
  if (!filter.empty()) std::memcpy(filter_.data(), filter.data(), filter_.size() * sizeof(Instruction));
}

std::vector<std::string> Sandbox::enter() {
  std::vector<std::string> missing;
  set_limits(limits_);
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) missing.emplace_back("no_new_privs");
  ruleset_ = make_ruleset();
  readable_.emplace_back(open("/proc/self", O_PATH | O_CLOEXEC));  // which is another place in each process
  for (const Descriptor& each : readable_) {
    if (ruleset_ && each) allow(ruleset_.get(), each.get(), kReadFile | kReadFolder);
  }
  readable_.clear();
  std::size_t own = 0;
  for (Instruction& each : filter_) {
    if (each.code != (BPF_JMP | BPF_JEQ | BPF_K) || each.value != kOwnProcess) continue;
    each.value = static_cast<std::uint32_t>(getpid());
    ++own;
  }
  const sock_fprog program{static_cast<unsigned short>(filter_.size()),
                           reinterpret_cast<sock_filter*>(filter_.data())};
  if (own != 1 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
    missing.emplace_back("seccomp (which system calls are allowed)");
  }
  return missing;
}

std::vector<std::string> Sandbox::admit(int input_fd) {
  const bool allowed = ruleset_ && (input_fd < 0 || allow(ruleset_.get(), input_fd, kReadFile));
  const bool restricted = allowed && syscall(kRestrictSelf, ruleset_.get(), 0) == 0;
  ruleset_.reset();
  if (restricted) return {};
  return {"Landlock (what files can be read)"};
}

}  // namespace reelfolio::stages
