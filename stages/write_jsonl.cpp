#include "stages/write_jsonl.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cmath>
#include <string_view>
#include <system_error>
#include <utility>

#include "stages/decimal.h"
#include "stages/system_message.h"

namespace reelfolio::stages {

namespace {

std::string_view status_name(InputStatus status) {
  switch (status) {
    case InputStatus::ok:
      return "ok";
    case InputStatus::partial:
      return "partial";
    case InputStatus::failed:
      return "failed";
    case InputStatus::skipped:
      break;
  }
  return "skipped";
}

std::string dump(const Json& value) {
  // Text may come from a page or a file name; what is not UTF-8 becomes U+FFFD.
  return value.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

std::string json_text(std::string_view text) {
  return dump(Json(text));
}

std::string time_text(double seconds) {
  return std::isfinite(seconds) ? milliseconds_text(seconds) : "null";
}

bool contains(const std::vector<UnitKind>& kinds, UnitKind kind) {
  return std::ranges::find(kinds, kind) != kinds.end();
}

/// {"kind","stage"?,"index", ...} without the closing brace.
std::string unit_head(const Unit& unit, const std::vector<UnitKind>& name_stage_of) {
  std::string text = R"({"kind":")" + std::string(unit_kind_name(unit.kind)) + '"';
  if (contains(name_stage_of, unit.kind)) text += R"(,"stage":)" + json_text(unit.producer);
  text += R"(,"index":)" + std::to_string(unit.index);
  if (unit.kind == UnitKind::page) text += R"(,"number":)" + std::to_string(unit.number);
  return text;
}

std::string unit_object(const UnitResult& result, const std::vector<UnitKind>& name_stage_of) {
  const Unit& unit = *result.unit;
  std::string text = unit_head(unit, name_stage_of);
  if (unit.kind == UnitKind::text) {
    text += R"(,"first_line":)" + std::to_string(unit.first_line) + R"(,"last_line":)" +
            std::to_string(unit.last_line);
  }
  if (unit.kind == UnitKind::scene || unit.kind == UnitKind::clip || unit.timed) {
    text += R"(,"start_s":)" + time_text(unit.start_s) + R"(,"end_s":)" + time_text(unit.end_s);
  }
  if (unit.kind == UnitKind::page || unit.kind == UnitKind::image) {
    text += R"(,"width_px":)" + std::to_string(unit.width_px) + R"(,"height_px":)" +
            std::to_string(unit.height_px);
  }
  if (!result.frame_times_s.empty()) {
    text += R"(,"frames":[)";
    for (std::size_t i = 0; i < result.frame_times_s.size(); ++i) {
      text += std::string(i > 0 ? "," : "") + R"({"time_s":)" + time_text(result.frame_times_s[i]) + '}';
    }
    text += ']';
  }
  return text + '}';
}

std::string error_object(const ErrorRecord& error, const std::vector<UnitKind>& name_stage_of) {
  std::string text = R"({"stage":)" + json_text(error.stage) + R"(,"unit":)";
  text += error.unit ? unit_head(*error.unit, name_stage_of) + '}' : "null";
  return text + R"(,"code":)" + json_text(error.code) + R"(,"message":)" + json_text(error.message) + '}';
}

[[noreturn]] void fail(const std::string& name, int error) {
  throw OutputError(name + ": cannot be written: " + system_message(error), error == EPIPE);
}

/// Where the links of `path` lead; the path itself where nothing is there yet.
std::filesystem::path link_target(const std::filesystem::path& path) {
  std::filesystem::path target = path;
  std::error_code error;
  for (int hops = 0; hops < 40 && std::filesystem::is_symlink(target, error); ++hops) {
    const std::filesystem::path next = std::filesystem::read_symlink(target, error);
    if (error) break;
    target = next.is_absolute() ? next : target.parent_path() / next;
  }
  return target;
}

class JsonlSink final : public Sink {
 public:
  JsonlSink(const std::filesystem::path& path, std::vector<UnitKind> name_stage_of)
      : name_(path.string()), name_stage_of_(std::move(name_stage_of)) {
    if (path == "-") {
      name_ = "stdout";
      descriptor_ = STDOUT_FILENO;
      return;
    }
    target_ = link_target(path);
    struct stat status {};
    const bool exists = stat(target_.c_str(), &status) == 0;
    if (exists && S_ISDIR(status.st_mode)) fail(name_, EISDIR);
    if (exists && !S_ISREG(status.st_mode)) {
      descriptor_ = open(target_.c_str(), O_WRONLY | O_CLOEXEC);
      if (descriptor_ < 0) fail(name_, errno);
      return;
    }
    partial_ = partial_path(path);
    descriptor_ = open(partial_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (descriptor_ < 0) fail(partial_.string(), errno);
    if (exists) {
      // The new file takes the place of the old one; so do its permissions. Where they
      // cannot be set (another owner's file) the new file keeps its own.
      [[maybe_unused]] const int ignored = fchmod(descriptor_, status.st_mode & 07777U);
    }
  }

  JsonlSink(const JsonlSink&) = delete;
  JsonlSink& operator=(const JsonlSink&) = delete;

  ~JsonlSink() override {
    if (descriptor_ >= 0 && descriptor_ != STDOUT_FILENO) close(descriptor_);
    if (!partial_.empty() && !finished_ && !written_) unlink(partial_.c_str());
  }

  void write(const InputResult& result) override {
    write_all(descriptor_, jsonl_lines(result, name_stage_of_), name_);
    written_ = true;
  }

  void finish() override {
    assert(!finished_);
    if (partial_.empty()) {
      finished_ = true;
      if (descriptor_ == STDOUT_FILENO) return;
      const int descriptor = std::exchange(descriptor_, -1);
      if (close(descriptor) != 0) fail(name_, errno);
      return;
    }
    // The contents reach the disk before the name does, and the name before success is
    // reported: a power cut leaves the old file or the new one.
    if (fsync(descriptor_) != 0) fail(name_, errno);
    if (close(std::exchange(descriptor_, -1)) != 0) fail(name_, errno);
    if (rename(partial_.c_str(), target_.c_str()) != 0) fail(name_, errno);
    finished_ = true;
    const std::filesystem::path folder = target_.parent_path().empty() ? "." : target_.parent_path();
    const int folder_descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder_descriptor < 0) fail(folder.string(), errno);
    const int synced = fsync(folder_descriptor);
    const int error = errno;
    close(folder_descriptor);
    // Some network file systems do not let folders be synced.
    if (synced != 0 && error != EINVAL && error != EROFS) fail(folder.string(), error);
  }

 private:
  std::string name_;  ///< for messages
  std::vector<UnitKind> name_stage_of_;
  int descriptor_ = -1;
  std::filesystem::path target_;
  std::filesystem::path partial_;  ///< empty: written directly
  bool written_ = false;
  bool finished_ = false;
};

}  // namespace

std::string jsonl_lines(const InputResult& result, const std::vector<UnitKind>& name_stage_of) {
  const std::string input = json_text(result.input->name);
  // An input that could not be read has no hash.
  const std::string sha256 = result.input->sha256.empty() ? "null" : json_text(result.input->sha256);
  const std::string source = R"("input":)" + input + R"(,"sha256":)" + sha256;
  std::string lines;
  for (const UnitResult& unit : result.units) {
    lines += R"({"type":"unit",)" + source + R"(,"unit":)" + unit_object(unit, name_stage_of);
    for (const auto& [stage, value] : unit.results) lines += ',' + json_text(stage) + ':' + dump(value);
    lines += "}\n";
  }
  lines += R"({"type":"input",)" + source + R"(,"media":")" +
           std::string(media_kind_name(result.input->media)) + R"(","status":")" +
           std::string(status_name(result.status)) + R"(","units":)" + std::to_string(result.units.size()) +
           R"(,"errors":[)";
  for (std::size_t i = 0; i < result.errors.size(); ++i) {
    if (i > 0) lines += ',';
    lines += error_object(result.errors[i], name_stage_of);
  }
  lines += ']';
  for (const auto& [stage, value] : result.results) lines += ',' + json_text(stage) + ':' + dump(value);
  return lines + "}\n";
}

std::unique_ptr<Sink> make_jsonl_sink(const std::filesystem::path& path,
                                      const std::vector<UnitKind>& name_stage_of) {
  return std::make_unique<JsonlSink>(path, name_stage_of);
}

std::filesystem::path partial_path(const std::filesystem::path& path) {
  std::filesystem::path partial = link_target(path);
  partial += ".partial";
  return partial;
}

void write_all(int descriptor, std::string_view text, const std::string& name) {
  while (!text.empty()) {
    const ssize_t written = ::write(descriptor, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno == EAGAIN) {
      pollfd ready{descriptor, POLLOUT, 0};
      poll(&ready, 1, -1);
    } else if (errno != EINTR) {
      fail(name, errno);
    }
  }
}

}  // namespace reelfolio::stages
