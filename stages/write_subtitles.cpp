#include "stages/write_subtitles.h"

#include <openssl/sha.h>

#include <array>
#include <cstdio>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

#include "stages/atomic_file.h"
#include "stages/system_message.h"
#include "stages/utf8.h"
#include "stages/write_jsonl.h"

namespace reelfolio::stages {
namespace {

// File systems allow 255 bytes; endings and a hash come on top.
constexpr std::size_t kLongestName = 180;

std::string short_hash(const std::string& text) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  std::string hex;
  for (std::size_t i = 0; i < 4; ++i) {
    char byte[3];
    std::snprintf(byte, sizeof byte, "%02x", static_cast<unsigned>(digest[i]));
    hex += byte;
  }
  return hex;
}

/// What a transcribe stage's value says was said, and when.
void add_speech(const Json& value, std::vector<Speech>& speech) {
  if (!value.is_object() || !value.contains("clips")) return;
  for (const Json& clip : value["clips"]) {
    if (clip.value("no_speech", true)) continue;
    speech.push_back(
        {clip.value("start_s", 0.0), clip.value("end_s", 0.0), clip.value("text", std::string())});
  }
}

class SubtitleSink final : public Sink {
 public:
  SubtitleSink(SubtitleSettings settings, std::unique_ptr<Sink> next)
      : settings_(std::move(settings)), next_(std::move(next)) {}

  void write(const InputResult& result) override {
    for (const std::string& stage : settings_.stages) {
      std::vector<Speech> speech;
      bool transcribed = false;
      for (const UnitResult& unit : result.units) {
        for (const auto& [name, value] : unit.results) {
          if (name != stage) continue;
          transcribed = true;
          add_speech(value, speech);
        }
      }
      if (transcribed) write_files(*result.input, stage, speech);
    }
    next_->write(result);
  }

  void finish() override { next_->finish(); }

 private:
  void write_files(const InputFile& input, const std::string& stage, const std::vector<Speech>& speech) {
    const std::vector<Cue> cues = subtitle_cues(speech);
    for (const SubtitleFormat format : settings_.formats) {
      const std::string ending =
          (settings_.stages.size() > 1 ? stage + "." : "") + std::string(subtitle_format_name(format));
      std::filesystem::path path = subtitle_path(input, ending, false);
      if (!written_.insert(path.string()).second) path = subtitle_path(input, ending, true);
      path = settings_.folder / path;
      std::error_code error;
      std::filesystem::create_directories(path.parent_path(), error);
      if (error) {
        throw OutputError(path.parent_path().string() + ": cannot be made: " + system_message(error.value()),
                          false);
      }
      write_file_atomically(path, subtitle_text(cues, format));
    }
  }

  SubtitleSettings settings_;
  std::unique_ptr<Sink> next_;
  std::set<std::string> written_;  ///< by this run, below the folder
};

}  // namespace

std::filesystem::path subtitle_path(const InputFile& input, const std::string& ending, bool with_hash) {
  std::filesystem::path path;
  bool changed = with_hash;
  std::string name = "sound";
  for (std::size_t begin = 0; begin < input.name.size();) {
    std::size_t end = input.name.find('/', begin);
    if (end == std::string::npos) end = input.name.size();
    std::string part = input.name.substr(begin, end - begin);
    begin = end + 1;
    if (part.empty() || part == ".") continue;
    if (part == "..") part = "__";
    for (char& c : part) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte >= 0x20 && byte != 0x7F) continue;
      c = '_';
      changed = true;
    }
    // Names that are not UTF-8 look alike.
    changed = changed || part.find(engine::kReplacementCharacter) != std::string::npos;
    if (part.size() > kLongestName) {
      truncate_utf8(part, kLongestName);
      changed = true;
    }
    if (begin < input.name.size()) {
      path /= part;
    } else {
      name = part;
    }
  }
  if (changed) name += "." + short_hash(input.path.string());
  return path / (name + "." + ending);
}

std::unique_ptr<Sink> make_subtitle_sink(SubtitleSettings settings, std::unique_ptr<Sink> next) {
  return std::make_unique<SubtitleSink>(std::move(settings), std::move(next));
}

}  // namespace reelfolio::stages
