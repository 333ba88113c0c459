#include "cli/jsonl_index.h"

#include <cerrno>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "pipeline/error.h"
#include "pipeline/names.h"
#include "stages/system_message.h"

namespace reelfolio::cli {

namespace {

using pipeline::ConfigError;

}  // namespace

JsonlIndex::JsonlIndex(const std::filesystem::path& path) : path_(path) {
  errno = 0;
  file_.open(path, std::ios::binary);
  std::error_code ignored;
  if (!file_ || std::filesystem::is_directory(path, ignored)) {
    throw ConfigError(path.string() + ": cannot be read: " +
                      (file_ ? "is a folder" : stages::system_message(errno != 0 ? errno : EIO)));
  }
  std::set<std::string> closed;
  std::string open;  // the input whose units have been read last
  Input next;
  std::uint64_t number = 0;
  std::uint64_t offset = 0;
  for (std::string line; std::getline(file_, line);) {
    ++number;
    const auto fail = [&](const std::string& why) {
      throw ConfigError(path.string() + ":" + std::to_string(number) + ": " + why);
    };
    if (file_.eof()) fail("the line does not end; the file is cut off");
    offset += line.size() + 1;
    const auto json = nlohmann::json::parse(line, nullptr, false);
    if (!json.is_object() || !json.contains("input") || !json["input"].is_string()) {
      fail("is no line of an output of reelfolio run");
    }
    const std::string name = json["input"];
    const std::string type = json.value("type", nlohmann::json()).is_string() ? json["type"] : "";
    if (type != "unit" && type != "input") fail("'type' is neither \"unit\" nor \"input\"");
    if (!open.empty() && open != name) fail("the lines of " + pipeline::in_quotes(open) + " have no end");
    open = type == "unit" ? name : "";
    if (type == "unit") continue;
    if (!closed.insert(name).second) fail(pipeline::in_quotes(name) + " comes twice");
    next.name = name;
    next.end = offset;
    inputs_.push_back(next);
    next.begin = offset;
  }
  if (!open.empty()) {
    throw ConfigError(path.string() + ": the lines of " + pipeline::in_quotes(open) +
                      " have no end; the file is cut off");
  }
}

std::string JsonlIndex::lines(const Input& input) {
  std::string text(input.end - input.begin, '\0');
  file_.clear();
  file_.seekg(static_cast<std::streamoff>(input.begin));
  file_.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file_ || (!text.empty() && text.back() != '\n')) {
    throw ConfigError(path_.string() + ": has changed while it was read");
  }
  return text;
}

}  // namespace reelfolio::cli
