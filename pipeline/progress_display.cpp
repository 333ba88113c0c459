#include "pipeline/progress_display.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <span>
#include <string_view>
#include <vector>

#include "pipeline/display_text.h"
#include "pipeline/names.h"

namespace reelfolio::pipeline {

namespace {

using stages::InputStatus;

constexpr double kRedrawEveryS = 0.1;
constexpr double kPlainEveryS = 10;
// While one long input is in hand: a log that stands still looks like a run that hangs.
constexpr double kPlainHeartbeatS = 60;
constexpr double kJsonEveryS = 1;
// A PDF whose thousand pages all fail says so in the output; here a few lines do.
constexpr std::size_t kErrorsShownPerInput = 5;

// Below these an estimate of the time left would jump about.
constexpr double kLeastElapsedS = 2;
constexpr double kLeastPart = 0.01;

/// What an input weighs in the time left: about one unit a mebibyte (a scene of a film, a photo),
/// and one unit at least.
double weight_of(std::uint64_t size_bytes) {
  return 1 + static_cast<double>(size_bytes) / (1 << 20);
}

/// An input begun and not yet written.
struct InHand {
  std::string name;
  double part = 0;  ///< decoded, from 0 to 1
  std::size_t units_found = 0;
  std::size_t units_done = 0;

  double done() const {
    return units_found == 0 ? 0 : part * static_cast<double>(units_done) / static_cast<double>(units_found);
  }
};

/// Counts what all displays show.
struct Counts {
  std::size_t inputs = 0;
  std::size_t done = 0;
  std::size_t ok = 0;
  std::size_t partial = 0;
  std::size_t failed = 0;
  std::size_t skipped = 0;
  std::size_t units_found = 0;
  std::size_t units_done = 0;
  double start_s = 0;
  engine::EngineStats stats;
  std::vector<double> weights;            ///< of all inputs
  double weight_left = 0;                 ///< of the inputs not yet written
  double weight_paced = 0;                ///< of those written that had units, which show the pace
  std::map<std::size_t, InHand> in_hand;  ///< by the input's place

  /// The first of those in hand: it holds up all that come after it.
  std::string current() const { return in_hand.empty() ? std::string() : in_hand.begin()->second.name; }
  double tokens_per_s() const {
    return stats.decode_s > 0 ? static_cast<double>(stats.decode_tokens) / stats.decode_s : 0;
  }
  /// From the pace so far; negative while there is none to go by. What fails or is skipped at
  /// once says nothing about the pace.
  double seconds_left(double now_s) const {
    double begun = 0;
    for (const auto& [input, each] : in_hand) begun += weights[input] * each.done();
    const double paced = weight_paced + begun;
    const double left = weight_left - begun;
    const double elapsed_s = now_s - start_s;
    if (done >= inputs || elapsed_s < kLeastElapsedS || paced <= kLeastPart * (paced + left)) return -1;
    return elapsed_s / paced * left;
  }
};

/// The window may have been resized since the terminal was looked at.
int columns_now(const TerminalInfo& terminal) {
  winsize size{};
  const bool known =
      terminal.descriptor >= 0 && ::ioctl(terminal.descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : terminal.columns;
}

class Display : public Progress {
 public:
  Display(bool quiet, std::ostream& out, const Clock& clock) : quiet_(quiet), out_(out), clock_(clock) {}

  void run_started(std::span<const std::uint64_t> sizes) override {
    counts_.inputs = sizes.size();
    counts_.start_s = clock_.now_s();
    for (const std::uint64_t size : sizes) {
      counts_.weights.push_back(weight_of(size));
      counts_.weight_left += counts_.weights.back();
    }
    update();
  }
  void input_started(std::size_t input, const std::string& name) override {
    counts_.in_hand[input].name = name;
    update();
  }
  void input_advanced(std::size_t input, double part) override {
    counts_.in_hand[input].part = std::clamp(part, 0.0, 1.0);
  }
  void unit_found(std::size_t input) override {
    ++counts_.units_found;
    ++counts_.in_hand[input].units_found;
    update();
  }
  void unit_done(std::size_t input, const engine::EngineStats& stats) override {
    ++counts_.units_done;
    ++counts_.in_hand[input].units_done;
    counts_.stats = stats;
    update();
  }
  void tick(const engine::EngineStats& stats) override {
    counts_.stats = stats;
    if (!quiet_) show_time();
  }
  void input_done(std::size_t input, const stages::InputResult& result) override {
    ++counts_.done;
    switch (result.status) {
      case InputStatus::ok:
        ++counts_.ok;
        break;
      case InputStatus::partial:
        ++counts_.partial;
        break;
      case InputStatus::failed:
        ++counts_.failed;
        break;
      case InputStatus::skipped:
        ++counts_.skipped;
        break;
    }
    counts_.weight_left -= counts_.weights[input];
    if (counts_.in_hand[input].units_done > 0) counts_.weight_paced += counts_.weights[input];
    counts_.in_hand.erase(input);
    if (!result.errors.empty()) show_errors(result);
    if (!quiet_) show_input(result);
    update();
  }
  void run_finished() override {
    clear();
    if (!quiet_) show_summary();
  }

 protected:
  virtual void show_errors(const stages::InputResult& result) = 0;
  virtual void show_summary() = 0;
  /// An input is done. May do nothing.
  virtual void show_input(const stages::InputResult& /*result*/) {}
  /// Something has changed. May do nothing.
  virtual void show_change() {}
  /// Time has passed.
  virtual void show_time() { show_change(); }
  /// Removes what is not to stay.
  virtual void clear() {}

  double now_s() const { return clock_.now_s(); }
  /// True once every `seconds`, and the first time.
  bool due(double seconds) {
    const double now = now_s();
    if (shown_ && now - shown_at_s_ < seconds) return false;
    shown_ = true;
    shown_at_s_ = now;
    return true;
  }
  /// The next due() is true: what was shown is gone.
  void forget_shown() { shown_ = false; }

  bool quiet_;
  std::ostream& out_;
  Counts counts_;

 private:
  void update() {
    if (!quiet_) show_change();
  }

  const Clock& clock_;
  bool shown_ = false;
  double shown_at_s_ = 0;
};

std::string number_with_one_place(double value) {
  std::array<char, 32> buffer{};
  const int length = std::snprintf(buffer.data(), buffer.size(), "%.1f", value);
  return {buffer.data(), static_cast<std::size_t>(std::max(length, 0))};
}

/// "12/40 inputs, 33/35 units, 5.2 tokens/s, 1 min 20 s, about 3 min 5 s left", in at most `columns`
/// columns: what matters least is left out first.
std::string counts_text(const Counts& counts, double now_s, std::size_t columns) {
  std::string units = counts.units_done < counts.units_found ? std::to_string(counts.units_done) + "/" : "";
  units += counted(counts.units_found, "unit");
  const double left_s = counts.seconds_left(now_s);
  enum Part { inputs, unit_count, pace, elapsed, left, num_parts };
  std::array<std::string, num_parts> parts;
  parts[inputs] = std::to_string(counts.done) + "/" + counted(counts.inputs, "input");
  parts[unit_count] = units;
  if (counts.tokens_per_s() > 0) parts[pace] = number_with_one_place(counts.tokens_per_s()) + " tokens/s";
  parts[elapsed] = duration_text(now_s - counts.start_s);
  if (left_s >= 0) parts[left] = "about " + duration_text(left_s) + " left";
  const auto text_of_parts = [&] {
    std::string text;
    for (const std::string& part : parts) {
      if (!part.empty()) text += (text.empty() ? "" : ", ") + part;
    }
    return text;
  };
  std::string text = text_of_parts();
  for (const Part least : {elapsed, pace, unit_count, left}) {
    if (display_width(text) <= columns) break;
    parts[least].clear();
    text = text_of_parts();
  }
  return shorten_to_end(text, columns);
}

/// "0.4 s" where whole seconds say too little.
std::string taken_text(double seconds) {
  return seconds < 10 ? number_with_one_place(seconds) + " s" : duration_text(seconds);
}

class TextDisplay : public Display {
 public:
  TextDisplay(bool quiet, bool colour, std::ostream& out, const Clock& clock)
      : Display(quiet, out, clock), colour_(colour) {}

 protected:
  void show_errors(const stages::InputResult& result) override {
    clear();
    const std::size_t shown = std::min(result.errors.size(), kErrorsShownPerInput);
    for (std::size_t i = 0; i < shown; ++i) {
      const stages::ErrorRecord& error = result.errors[i];
      out_ << place_text(*result.input, error.unit.get()) << ": " << (colour_ ? "\x1b[31m" : "") << error.code
           << (colour_ ? "\x1b[0m" : "") << ": " << printable(error.message) << '\n';
    }
    if (shown < result.errors.size()) {
      out_ << printable(result.input->name) << ": " << counted(result.errors.size() - shown, "more error")
           << '\n';
    }
    out_.flush();
  }

  void show_summary() override {
    std::string text;
    if (counts_.done < counts_.inputs) {
      text = "interrupted after " + std::to_string(counts_.done) + " of " + counted(counts_.inputs, "input") +
             ": ";
    } else {
      text = counted(counts_.inputs, "input") + ": ";
    }
    text += std::to_string(counts_.ok) + " ok";
    if (counts_.partial > 0) text += ", " + std::to_string(counts_.partial) + " partial";
    if (counts_.failed > 0) text += ", " + std::to_string(counts_.failed) + " failed";
    if (counts_.skipped > 0) text += ", " + std::to_string(counts_.skipped) + " skipped";
    text += "; " + counted(counts_.units_found, "unit") + " in " + taken_text(now_s() - counts_.start_s);
    if (counts_.tokens_per_s() > 0)
      text += ", " + number_with_one_place(counts_.tokens_per_s()) + " tokens/s";
    out_ << text << '\n';
    out_.flush();
  }

 private:
  bool colour_;
};

class PlainDisplay : public TextDisplay {
 public:
  using TextDisplay::TextDisplay;

 protected:
  void show_input(const stages::InputResult& result) override {
    if (due(kPlainEveryS)) show(": " + result.input->name);
  }
  void show_time() override {
    // The first moment shows nothing that needs a line.
    if (counts_.in_hand.empty() || now_s() - counts_.start_s < kPlainHeartbeatS) return;
    if (due(kPlainHeartbeatS)) show(", at " + counts_.current());
  }

 private:
  void show(const std::string& where) {
    out_ << counts_text(counts_, now_s(), kAnyWidth) << printable(where) << '\n';
    out_.flush();
  }

  static constexpr std::size_t kAnyWidth = 1000;
};

class AnimatedDisplay : public TextDisplay {
 public:
  AnimatedDisplay(bool quiet, const TerminalInfo& terminal, std::ostream& out, const Clock& clock)
      : TextDisplay(quiet, terminal.colour, out, clock), terminal_(terminal) {}
  ~AnimatedDisplay() override { AnimatedDisplay::clear(); }

 protected:
  void show_change() override {
    if (!due(kRedrawEveryS)) return;
    // The last column stays free: some terminals wrap as soon as it is filled.
    const auto room = static_cast<std::size_t>(std::max(columns_now(terminal_), kLeastColumns) - 1);
    std::string line = counts_text(counts_, now_s(), room);
    const std::size_t used = display_width(line) + 2;
    if (const std::string name = printable(counts_.current()); !name.empty() && used + 8 <= room) {
      line += "  " + shorten_to_end(name, room - used);
    }
    if (line == drawn_) return;
    // One write: the old line is covered, then what is left of it erased, so nothing flickers.
    out_ << "\r" + line + "\x1b[K" << std::flush;
    drawn_ = line;
  }
  void clear() override {
    if (drawn_.empty()) return;
    out_ << "\r\x1b[K" << std::flush;
    drawn_.clear();
    forget_shown();
  }

 private:
  static constexpr int kLeastColumns = 20;
  TerminalInfo terminal_;
  std::string drawn_;
};

class JsonDisplay : public Display {
 public:
  using Display::Display;

 protected:
  void show_change() override {
    if (!due(kJsonEveryS)) return;
    stages::Json line = counts("progress");
    line["units_done"] = counts_.units_done;
    line["tokens_per_s"] = counts_.tokens_per_s();
    const double left_s = counts_.seconds_left(now_s());
    line["seconds_left"] = left_s >= 0 ? stages::Json(left_s) : stages::Json(nullptr);
    line["input"] = counts_.in_hand.empty() ? stages::Json(nullptr) : stages::Json(counts_.current());
    write(line);
  }
  void show_errors(const stages::InputResult& result) override {
    for (const stages::ErrorRecord& error : result.errors) {
      stages::Json line;
      line["type"] = "error";
      line["input"] = result.input->name;
      line["stage"] = error.stage;
      if (error.unit) {
        line["unit"] = {{"kind", stages::unit_kind_name(error.unit->kind)}, {"index", error.unit->index}};
      } else {
        line["unit"] = nullptr;
      }
      line["code"] = error.code;
      line["message"] = error.message;
      write(line);
    }
  }
  void show_summary() override {
    stages::Json line = counts("summary");
    line["ok"] = counts_.ok;
    line["partial"] = counts_.partial;
    line["failed"] = counts_.failed;
    line["skipped"] = counts_.skipped;
    line["interrupted"] = counts_.done < counts_.inputs;
    write(line);
  }

 private:
  stages::Json counts(const char* type) const {
    stages::Json line;
    line["type"] = type;
    line["inputs"] = counts_.inputs;
    line["inputs_done"] = counts_.done;
    line["units"] = counts_.units_found;
    line["seconds"] = now_s() - counts_.start_s;
    return line;
  }
  void write(const stages::Json& line) {
    out_ << line.dump(-1, ' ', false, stages::Json::error_handler_t::replace) << '\n' << std::flush;
  }
};

}  // namespace

TerminalInfo terminal_info(int fd) {
  TerminalInfo info;
  const char* term = std::getenv("TERM");
  const char* no_color = std::getenv("NO_COLOR");
  const bool plain = no_color != nullptr && *no_color != '\0';
  info.animated =
      ::isatty(fd) == 1 && term != nullptr && *term != '\0' && std::string_view(term) != "dumb" && !plain;
  info.colour = info.animated;
  if (info.animated) info.descriptor = fd;
  info.columns = columns_now(info);
  return info;
}

std::unique_ptr<Progress> make_progress(ProgressMode mode, bool quiet, std::ostream& out,
                                        const TerminalInfo& terminal, const Clock& clock) {
  switch (mode) {
    case ProgressMode::json:
      return std::make_unique<JsonDisplay>(quiet, out, clock);
    case ProgressMode::none:
      return std::make_unique<TextDisplay>(quiet, terminal.colour, out, clock);
    case ProgressMode::automatic:
      if (terminal.animated) return std::make_unique<AnimatedDisplay>(quiet, terminal, out, clock);
      break;
    case ProgressMode::plain:
      break;
  }
  return std::make_unique<PlainDisplay>(quiet, terminal.colour, out, clock);
}

}  // namespace reelfolio::pipeline
