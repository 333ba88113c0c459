#include <fcntl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <thread>

#include "stages/decoder/isolated_decoder.h"
#include "tests/stages/media_fixture.h"
#include "tests/support/catch.h"

using namespace reelfolio::stages;

namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kAddressSanitizer = true;
#else
constexpr bool kAddressSanitizer = false;
#endif
/// Crashes are reported by a sanitizer, in its own words and with its exit code.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitizerReports = true;
#else
constexpr bool kSanitizerReports = false;
#endif

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string outcome(bool done) {
  return done ? "done" : errno == EPERM || errno == EACCES ? "refused" : "failed";
}

/// A transform that does what the input file says, one deed a line.
class Deeds : public Transform {
 public:
  std::unique_ptr<Worker> make_worker() const override { return std::make_unique<DeedWorker>(); }

 private:
  class DeedWorker : public Worker {
   public:
    void process(const Item& item, Emitter& out) override {
      std::ifstream file(item.input->path);
      std::string line;
      while (std::getline(file, line)) {
        std::istringstream words(line);
        std::string deed, argument;
        words >> deed >> argument;
        do_deed(deed, argument, item, out);
      }
    }

   private:
    void do_deed(const std::string& deed, const std::string& argument, const Item& item, Emitter& out) {
      if (deed == "page") emit_page(item, out, std::nullopt);
      if (deed == "pid") emit_page(item, out, std::to_string(getpid()));
      if (deed == "tokens") emit_page(item, out, std::to_string(out.count_tokens(argument)));
      if (deed == "error") out.error(ItemError("fake.bad", argument), page(std::nullopt));
      if (deed == "throw") throw ItemError("fake.end", "the end is missing");
      if (deed == "break") throw std::runtime_error("broke down");
      if (deed == "crash") std::raise(SIGSEGV);
      if (deed == "exit") _exit(std::stoi(argument));
      if (deed == "abort") {
        std::fprintf(stderr, "first line\nfree(): %s\n", argument.c_str());
        std::signal(SIGABRT, SIG_DFL);
        std::abort();
      }
      if (deed == "sleep") {
        for (;;) pause_for_a_while();
      }
      if (deed == "work") {
        for (;;) {
          pause_for_a_while();
          out.advanced(0.5);
        }
      }
      if (deed == "swell") {
        std::vector<std::vector<char>> all;
        for (;;) all.emplace_back(std::size_t{16} << 20U, 'x');
      }
      if (deed == "nonsense") {
        for (int fd = 3; fd < 20; ++fd) {
          [[maybe_unused]] const ssize_t sent = ::write(fd, argument.data(), argument.size());
        }
        for (;;) pause_for_a_while();
      }
      if (deed == "try") emit_page(item, out, attempt(argument));
    }

    static void pause_for_a_while() { std::this_thread::sleep_for(std::chrono::milliseconds(5)); }

    static std::string attempt(const std::string& what) {
      errno = 0;
      if (what == "socket") return outcome(::socket(AF_INET, SOCK_STREAM, 0) >= 0);
      if (what == "fork") return outcome(::fork() >= 0);
      if (what == "exec") return outcome(::execl("/bin/true", "true", nullptr) == 0);
      if (what == "signal") return outcome(::kill(getppid(), 0) == 0);
      if (what == "trace") return outcome(::ptrace(PTRACE_ATTACH, getppid(), nullptr, nullptr) == 0);
      if (what == "create") return outcome(::open("/tmp/reelfolio-escaped", O_WRONLY | O_CREAT, 0600) >= 0);
      if (what == "kept") return ::fcntl(200, F_GETFD) < 0 && errno == EBADF ? "closed" : "open";
      if (what == "library") return outcome(::open("/usr/lib/os-release", O_RDONLY) >= 0);
      if (what == "thread") {
        std::thread([] {}).join();
        return "done";
      }
      return outcome(::open(what.c_str(), O_RDONLY) >= 0);  // a file
    }

    std::shared_ptr<Unit> page(std::optional<std::string> text) {
      auto unit = std::make_shared<Unit>();
      unit->producer = "deeds";
      unit->kind = UnitKind::page;
      unit->index = next_;
      unit->number = ++next_;
      unit->text = std::move(text);
      unit->words = {{"word", 1, 2, 3, 4}};
      return unit;
    }
    void emit_page(const Item& item, Emitter& out, std::optional<std::string> text) {
      auto image = std::make_shared<reelfolio::engine::RgbImage>();
      image->width = 3;
      image->height = 1000 + next_;
      image->pixels.resize(static_cast<std::size_t>(image->width) * image->height * 3);
      for (std::size_t i = 0; i < image->pixels.size(); ++i) {
        image->pixels[i] = static_cast<std::uint8_t>(i * 7 + static_cast<std::size_t>(next_));
      }
      Item made{item.input, page(std::move(text)), {}};
      made.pictures.push_back({image, 70, std::nullopt});
      made.pictures.push_back({std::move(image), 280, 1.5});
      made.sound = Sound{{}, next_ % 2 == 0};
      for (int clip = 0; clip < next_ % 3; ++clip) {
        auto audio = std::make_shared<reelfolio::engine::AudioClip>();
        for (int i = 0; i < 200 + next_; ++i) audio->samples.push_back(static_cast<float>(i % 9 - 4) / 4);
        made.sound->clips.push_back({std::move(audio), clip + 0.25});
      }
      out.emit(std::move(made));
    }

    int next_ = 0;
  };
};

/// Hands on what it gets, with a picture less.
class Passing : public Transform {
 public:
  std::unique_ptr<Worker> make_worker() const override { return std::make_unique<PassingWorker>(); }

 private:
  class PassingWorker : public Worker {
    void process(const Item& item, Emitter& out) override {
      Item made = item;
      made.pictures.pop_back();
      if (item.unit->index == 2) throw ItemError("fake.third", "cannot be passed on");
      out.emit(std::move(made));
    }
  };
};

/// Events as lines of text.
class Log : public DecodeEvents {
 public:
  void emitted(int stage, Item item, bool is_new) override {
    if (cancel_at == ++emissions) throw Cancelled{};
    std::ostringstream line;
    line << "emitted " << stage << (is_new ? " new " : " ") << item.input->name << ' '
         << show(item.unit.get());
    for (const Picture& picture : item.pictures) {
      std::uint64_t sum = 0;
      for (const std::uint8_t byte : picture.image->pixels) sum = sum * 31 + byte;
      line << ' ' << picture.image->width << 'x' << picture.image->height << ':' << sum << ':'
           << picture.soft_tokens << ':' << picture.time_s.value_or(-1);
    }
    if (item.sound) line << (item.sound->no_track ? " no track" : " sound");
    for (const SoundClip& clip : item.sound ? item.sound->clips : std::vector<SoundClip>()) {
      double sum = 0;
      for (const float sample : clip.audio->samples) sum = sum * 0.9 + sample;
      line << ' ' << clip.audio->samples.size() << '@' << clip.start_s << ':' << sum;
    }
    if (is_new) known[item.unit.get()] = item.unit;
    if (!is_new && known.count(item.unit.get()) == 0) line << " strange";
    lines.push_back(line.str());
    if (item.unit->text) texts.push_back(*item.unit->text);
  }
  void unit_closed(const std::shared_ptr<const Unit>& unit) override {
    lines.push_back("closed " + show(unit.get()) + (known.erase(unit.get()) == 1 ? "" : " strange"));
  }
  void failed(int stage, std::shared_ptr<const Unit> unit, const std::string& code,
              const std::string& message) override {
    lines.push_back("failed " + std::to_string(stage) + ' ' + show(unit.get()) + ' ' + code + ' ' + message);
    codes.push_back(code);
    messages.push_back(message);
  }
  bool stopped() const override { return stop; }
  void advanced(double part) override {
    parts.push_back(part);
    if (stop_when_advanced) stop = true;
  }
  std::size_t count_tokens(std::string_view text) const override { return 1000 + text.size(); }

  std::vector<std::string> lines, texts, codes, messages;
  std::vector<double> parts;
  std::map<const Unit*, std::shared_ptr<const Unit>> known;
  int emissions = 0, cancel_at = 0;
  bool stop = false, stop_when_advanced = false;

 private:
  static std::string show(const Unit* unit) {
    if (unit == nullptr) return "-";
    std::string text = unit->producer + '/' + std::to_string(unit->index) + '/' + unit->text.value_or("none");
    for (const PageWord& word : unit->words) text += '/' + word.text + std::to_string(word.bottom_px);
    return text;
  }
};

/// "deeds" over the input, "passing" over its pages, and a stage that is not run here.
DecodePlan plan_of(const Transform& deeds, const Transform& passing) {
  DecodePlan plan;
  plan.stages.resize(3);
  plan.stages[0] = {"deeds", &deeds, {}, {}};
  plan.stages[0].from = {DecodePlan::kInputs};
  plan.stages[0].receives = {ItemType::text_file};
  plan.stages[1] = {"passing", &passing, {}, {}};
  plan.stages[1].from = {0};
  plan.stages[1].receives = {ItemType::page};
  plan.stages[2].name = "language";
  return plan;
}

/// A plan of both transforms over files of deeds, a server, and one thread's decoder.
class Isolation {
 public:
  explicit Isolation(DecoderLimits limits = {}, std::vector<std::filesystem::path> readable = {})
      : plan(plan_of(deeds_, passing_)),
        server(plan, limits, std::move(readable)),
        timer([] { return 0.0; }, plan.stages.size()),
        decoder(server, timer) {}

  std::shared_ptr<const InputFile> input(const std::string& deeds) {
    const auto path = folder.write("deeds" + std::to_string(files_++), deeds);
    return std::make_shared<const InputFile>(decoder.probe(path, "its name", {}));
  }
  Log run(const std::string& deeds) {
    Log log;
    decoder.decode(input(deeds), log);
    return log;
  }

 private:
  Deeds deeds_;
  Passing passing_;
  int files_ = 0;

 public:
  MediaFolder folder;
  DecodePlan plan;
  DecoderServer server;
  StageTimer timer;
  IsolatedDecoder decoder;
};

bool has_everything(const Isolation& isolation) {
  for (const std::string& part : isolation.server.missing()) WARN("this system does not offer " << part);
  return isolation.server.missing().empty();
}

/// Whether a process does anything any more.
bool is_alive(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string number, name, state;
  return (file >> number >> name >> state) && state != "Z" && state != "X";
}

std::vector<pid_t> children_of(pid_t parent) {
  std::vector<pid_t> children;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::ifstream file(entry.path() / "stat");
    pid_t pid = 0, its_parent = 0;
    std::string name, state;
    if (file >> pid >> name >> state >> its_parent && its_parent == parent) children.push_back(pid);
  }
  return children;
}

bool ends_soon(pid_t pid) {
  for (int i = 0; i < 1000 && is_alive(pid); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return !is_alive(pid);
}

}  // namespace

TEST_CASE("isolation: a process reports what decoding in this process reports") {
  Isolation isolation;
  const auto input = isolation.input("page\npage\npage\nerror bad\ntokens five!\npage\nthrow\n");
  Log isolated, direct;
  isolation.decoder.decode(input, isolated);
  StageTimer timer([] { return 0.0; }, isolation.plan.stages.size());
  InputDecoder(isolation.plan, timer).decode(input, direct);
  CHECK(isolated.lines == direct.lines);
  CHECK(isolated.lines.size() == 5 * 3 + 2);  // unit 2 is not passed on, and an error is
  CHECK(isolated.texts == std::vector<std::string>{"1005", "1005"});
  for (std::size_t i = 0; i < timer.costs().size(); ++i) {
    CHECK(isolation.timer.costs()[i].items == timer.costs()[i].items);
  }
}

TEST_CASE("isolation: a worker that breaks down ends its input as it does in this process") {
  Isolation isolation;
  const auto input = isolation.input("page\nbreak\npage\n");
  Log isolated, direct;
  isolation.decoder.decode(input, isolated);
  StageTimer timer([] { return 0.0; }, isolation.plan.stages.size());
  InputDecoder(isolation.plan, timer).decode(input, direct);
  CHECK(isolated.lines == direct.lines);
  CHECK(isolated.codes == std::vector<std::string>{"internal.error"});
}

TEST_CASE("isolation: a crash costs its input alone, and what came before it is kept") {
  Isolation isolation;
  const Log log = isolation.run("page\ncrash\npage\n");
  CHECK(log.emissions == 2);
  CHECK(log.codes == std::vector<std::string>{"decoder.crashed"});
  CHECK(has(log.lines.back(), "failed 0 - decoder.crashed"));
  if (!kSanitizerReports) CHECK(has(log.messages.front(), "signal 11"));
  CHECK(isolation.run("page\n").codes.empty());
}

TEST_CASE("isolation: the last words of a process that gives up are in the message") {
  Isolation isolation;
  const Log log = isolation.run("abort \x1b[31mpointer\n");
  CHECK(log.codes == std::vector<std::string>{"decoder.crashed"});
  if (!kSanitizerReports) CHECK(has(log.messages.front(), "(free():  [31mpointer)"));
  CHECK(has(isolation.run("exit 7\n").messages.front(), "exit code 7"));
  CHECK(isolation.run("exit 0\n").codes == std::vector<std::string>{"decoder.crashed"});
}

TEST_CASE("isolation: a process that hangs is ended, with or without signs of life") {
  DecoderLimits limits;
  limits.time_s = 1.5;
  limits.stall_s = 0.2;
  Isolation isolation(limits);
  const Log stalled = isolation.run("page\nsleep\n");
  CHECK(stalled.emissions == 2);
  CHECK(stalled.codes == std::vector<std::string>{"time.limit"});
  CHECK(has(stalled.messages.front(), "input_stall"));
  const Log slow = isolation.run("work\n");
  CHECK(slow.codes == std::vector<std::string>{"time.limit"});
  CHECK(has(slow.messages.front(), "input_time"));
  CHECK(slow.parts == std::vector<double>{0.5});
}

TEST_CASE("isolation: a process that swells is stopped at its limit") {
  if (kAddressSanitizer) return;  // address space cannot be limited there
  DecoderLimits limits;
  limits.memory_bytes = std::uint64_t{128} << 20U;
  Isolation isolation(limits);
  const Log log = isolation.run("page\nswell\n");
  CHECK(log.emissions == 2);
  CHECK(log.codes == std::vector<std::string>{"memory.limit"});
}

TEST_CASE("isolation: a process that sends nonsense is ended") {
  Isolation isolation;
  for (const char* nonsense : {"abcd", "a", "longer_than_any_message"}) {
    const Log log = isolation.run("page\nnonsense " + std::string(nonsense) + "\n");
    CHECK(log.emissions == 2);
    CHECK(log.codes == std::vector<std::string>{"decoder.crashed"});
  }
}

TEST_CASE("isolation: stopping and cancelling end the process") {
  Isolation isolation;
  Log stopping;
  stopping.stop_when_advanced = true;
  CHECK_THROWS_AS(isolation.decoder.decode(isolation.input("pid\nwork\n"), stopping), Cancelled);
  CHECK(ends_soon(std::stoi(stopping.texts.at(0))));
  Log cancelling;
  cancelling.cancel_at = 3;
  CHECK_THROWS_AS(isolation.decoder.decode(isolation.input("pid\npage\npage\n"), cancelling), Cancelled);
  CHECK(ends_soon(std::stoi(cancelling.texts.at(0))));
  CHECK(isolation.run("page\n").codes.empty());
}

TEST_CASE("isolation: a process can do nothing but decode") {
  const int kept = ::dup2(STDERR_FILENO, 200);
  Isolation isolation;
  ::close(kept);
  if (!has_everything(isolation)) return;
  const auto other = isolation.folder.write("other", "a secret");
  std::string deeds;
  for (const char* what : {"socket", "fork", "exec", "signal", "trace", "create", "/etc/passwd"}) {
    deeds += std::string("try ") + what + "\n";
  }
  deeds += "try " + other.string() + "\n";
  const Log log = isolation.run(deeds);
  // The third is not passed on to the second stage; that is no matter here.
  CHECK(log.codes == std::vector<std::string>{"fake.third"});
  CHECK(log.texts == std::vector<std::string>(15, "refused"));
  CHECK(isolation.run("try kept\n").texts.front() == "closed");
  CHECK(isolation.run("try library\n").texts.front() == "done");
  CHECK(isolation.run("try thread\n").texts.front() == "done");
  CHECK_FALSE(std::filesystem::exists("/tmp/reelfolio-escaped"));
}

TEST_CASE("isolation: files that transforms name may be read") {
  MediaFolder folder;
  const auto password = folder.write("password", "secret");
  Isolation isolation({}, {password});
  CHECK(isolation.run("try " + password.string() + "\n").texts.front() == "done");
}

TEST_CASE("isolation: an input is the file that was looked at, even once its name is gone") {
  Isolation isolation;
  const auto input = isolation.input("page\n");
  std::filesystem::remove(input->path);
  Log log;
  isolation.decoder.decode(input, log);
  CHECK(log.emissions == 2);
  CHECK(log.codes.empty());
}

TEST_CASE(
    "isolation: an input that is written to before or while it is decoded is told, with what came of it") {
  struct Appending : Log {
    void emitted(int stage, Item item, bool is_new) override {
      std::ofstream(path, std::ios::app) << "more\n";
      Log::emitted(stage, std::move(item), is_new);
    }
    std::filesystem::path path;
  };
  Isolation isolation;
  const auto input = isolation.input("page\npage\n");
  Appending log;
  log.path = input->path;
  isolation.decoder.decode(input, log);
  CHECK(log.emissions == 4);
  CHECK(log.codes == std::vector<std::string>{"input.changed"});

  // In this process, where the file is told by its size alone until then.
  StageTimer timer([] { return 0.0; }, isolation.plan.stages.size());
  InputDecoder direct(isolation.plan, timer);
  const auto second = isolation.input("page\n");
  Appending changed;
  changed.path = second->path;
  direct.decode(second, changed);
  CHECK(changed.emissions == 2);
  CHECK(changed.codes == std::vector<std::string>{"input.changed"});
  Log longer;
  direct.decode(second, longer);
  CHECK(longer.emissions == 0);
  CHECK(longer.codes == std::vector<std::string>{"input.changed"});

  // As long as before, between the hash and decoding. Clocks of file systems tick every few milliseconds.
  const auto third = isolation.input("page\n");
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  std::ofstream(third->path) << "PAGE\n";
  Log rewritten;
  isolation.decoder.decode(third, rewritten);
  CHECK(rewritten.emissions == 0);
  CHECK(rewritten.codes == std::vector<std::string>{"input.changed"});
}

TEST_CASE("isolation: processes are made ahead, and that one is killed while it waits costs nothing") {
  Isolation isolation;
  std::vector<pid_t> waiting;
  for (int i = 0; i < 500 && waiting.size() < 2; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    waiting.clear();
    for (const pid_t server : children_of(getpid())) {
      for (const pid_t decoder : children_of(server)) waiting.push_back(decoder);
    }
  }
  CHECK(waiting.size() == 2);
  for (const pid_t pid : waiting) kill(pid, SIGKILL);
  // One that is handed an input while it dies takes the input along.
  for (const pid_t pid : waiting) CHECK(ends_soon(pid));
  for (int i = 0; i < 5; ++i) CHECK(isolation.run("page\n").codes.empty());
}

TEST_CASE("isolation: a killed parent leaves no process behind") {
  int pipe_ends[2];
  REQUIRE(::pipe(pipe_ends) == 0);
  const pid_t parent = ::fork();
  REQUIRE(parent >= 0);
  if (parent == 0) {
    class Telling : public Log {
     public:
      explicit Telling(int to) : to_(to) {}
      void emitted(int, Item item, bool) override {
        const pid_t pid = std::stoi(item.unit->text.value());
        if (::write(to_, &pid, sizeof pid) != sizeof pid) ::_exit(1);
      }
      int to_;
    } telling(pipe_ends[1]);
    Isolation isolation;
    isolation.decoder.decode(isolation.input("pid\nsleep\n"), telling);
    ::_exit(0);
  }
  pid_t decoder = 0;
  REQUIRE(::read(pipe_ends[0], &decoder, sizeof decoder) == sizeof decoder);
  REQUIRE(is_alive(decoder));
  ::kill(parent, SIGKILL);
  ::waitpid(parent, nullptr, 0);
  CHECK(ends_soon(decoder));
  ::close(pipe_ends[0]);
  ::close(pipe_ends[1]);
}

TEST_CASE("isolation: signals of the terminal do not end a decoder that its parent goes on with") {
  Isolation isolation;
  class Signalling : public Log {
   public:
    void emitted(int stage, Item item, bool is_new) override {
      if (stage == 0 && emissions == 0) {
        for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) {
          ::kill(std::stoi(item.unit->text.value()), signal);
        }
      }
      Log::emitted(stage, std::move(item), is_new);
    }
  } log;
  isolation.decoder.decode(isolation.input("pid\npage\n"), log);
  CHECK(log.emissions == 4);
  CHECK(log.codes.empty());
}
