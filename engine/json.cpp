#include "engine/json.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <system_error>
#include <utility>

#include "engine/error.h"

namespace reelfolio::engine {
namespace {

constexpr std::size_t kMostShownBytes = 60;

/// A value as a message shows it: short, on one line.
std::string shown(simdjson::dom::element element) {
  std::string text = simdjson::minify(element);
  if (text.size() > kMostShownBytes) {
    std::size_t end = kMostShownBytes;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
    text.resize(end);
    text += "...";
  }
  return text;
}

std::string number_text(double value) {
  if (value == std::floor(value) && std::abs(value) < 1e15)
    return std::to_string(static_cast<long long>(value));
  std::string text = std::to_string(value);
  return text;
}

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

std::string error_text(int error) {
  return std::generic_category().message(error);
}

}  // namespace

void JsonValue::fail(std::string_view expected) const {
  throw ModelError(*file_ + ": " + (path_.empty() ? std::string("the document") : "key '" + path_ + "'") +
                   " is " + shown(element_) + ", expected " + std::string(expected));
}

simdjson::dom::object JsonValue::object() const {
  simdjson::dom::object value;
  if (element_.get_object().get(value) != simdjson::SUCCESS) fail("an object");
  return value;
}

simdjson::dom::array JsonValue::array() const {
  simdjson::dom::array value;
  if (element_.get_array().get(value) != simdjson::SUCCESS) fail("a list");
  return value;
}

std::optional<JsonValue> JsonValue::find(std::string_view key) const {
  simdjson::dom::element member;
  if (object().at_key(key).get(member) != simdjson::SUCCESS || member.is_null()) return std::nullopt;
  return JsonValue(member, path_.empty() ? std::string(key) : path_ + "." + std::string(key), *file_);
}

JsonValue JsonValue::require(std::string_view key) const {
  if (auto value = find(key)) return *value;
  throw ModelError(*file_ + ": key '" + (path_.empty() ? "" : path_ + ".") + std::string(key) +
                   "' is missing");
}

std::string_view JsonValue::string() const {
  std::string_view value;
  if (element_.get_string().get(value) != simdjson::SUCCESS) fail("a string");
  return value;
}

bool JsonValue::boolean() const {
  bool value = false;
  if (element_.get_bool().get(value) != simdjson::SUCCESS) fail("true or false");
  return value;
}

std::size_t JsonValue::size(std::size_t least, std::size_t most) const {
  std::uint64_t value = 0;
  if (element_.get_uint64().get(value) != simdjson::SUCCESS || value < least || value > most) {
    fail("an integer from " + std::to_string(least) + " to " + std::to_string(most));
  }
  return value;
}

double JsonValue::number(double least, double most) const {
  double value = 0;
  // Written so that a NaN, which no JSON text can spell, would fail as well.
  if (element_.get_double().get(value) != simdjson::SUCCESS || !(value >= least && value <= most)) {
    fail("a number from " + number_text(least) + " to " + number_text(most));
  }
  return value;
}

std::vector<std::size_t> JsonValue::sizes(std::size_t least, std::size_t most) const {
  if (!is_array()) return {size(least, most)};
  std::vector<std::size_t> values;
  std::size_t index = 0;
  for (const simdjson::dom::element element : array()) {
    const JsonValue item(element, path_ + "[" + std::to_string(index++) + "]", *file_);
    values.push_back(item.size(least, most));
  }
  return values;
}

JsonDocument::JsonDocument(std::string_view text, std::string file) : file_(std::move(file)) {
  const simdjson::error_code error = parser_.parse(text.data(), text.size(), true).get(root_);
  if (error != simdjson::SUCCESS) {
    throw ModelError(file_ + ": not valid JSON: " + simdjson::error_message(error));
  }
}

std::optional<std::string> read_optional_model_file(const std::filesystem::path& path,
                                                    std::size_t most_bytes) {
  const std::string name = path.filename().string();
  // O_NONBLOCK: a FIFO of that name must not stop the program.
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) {
    if (errno == ENOENT) return std::nullopt;
    throw ModelError(name + ": cannot be opened: " + error_text(errno));
  }
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) throw ModelError(name + ": cannot be read: " + error_text(errno));
  if (!S_ISREG(info.st_mode)) throw ModelError(name + ": not a regular file");
  if (static_cast<std::uintmax_t>(info.st_size) > most_bytes) {
    throw ModelError(name + ": is " + std::to_string(info.st_size) + " bytes, expected at most " +
                     std::to_string(most_bytes));
  }
  std::string text(static_cast<std::size_t>(info.st_size), '\0');
  std::size_t filled = 0;
  while (filled < text.size()) {
    const ssize_t got = ::read(file.get(), text.data() + filled, text.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw ModelError(name + ": cannot be read: " + error_text(errno));
    if (got == 0) break;
    filled += static_cast<std::size_t>(got);
  }
  text.resize(filled);
  return text;
}

std::string read_model_file(const std::filesystem::path& path, std::size_t most_bytes) {
  if (auto text = read_optional_model_file(path, most_bytes)) return std::move(*text);
  throw ModelError(path.filename().string() + ": not found in " + path.parent_path().string());
}

}  // namespace reelfolio::engine
