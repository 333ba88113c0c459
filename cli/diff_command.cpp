#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cli/commands.h"
#include "cli/console.h"
#include "cli/jsonl_index.h"
#include "pipeline/names.h"

namespace reelfolio::cli {

namespace {

using nlohmann::ordered_json;

constexpr const char* kNothing = "nothing";

/// Prints what differs between values, by field: "caption.text: "a dog" -> "a cat"".
class FieldDiff {
 public:
  FieldDiff(std::string subject, bool& differs) : subject_(std::move(subject)), differs_(differs) {}

  void compare(const std::string& field, const ordered_json& a, const ordered_json& b) {
    if (a == b) return;
    if (a.is_object() && b.is_object()) {
      for (const auto& [key, value] : a.items()) {
        compare(below(field, key), value, b.contains(key) ? b[key] : ordered_json());
      }
      for (const auto& [key, value] : b.items()) {
        if (!a.contains(key)) report(below(field, key), kNothing, shown(value));
      }
      return;
    }
    if (a.is_array() && b.is_array() && a.size() == b.size()) {
      for (std::size_t i = 0; i < a.size(); ++i) compare(field + "[" + std::to_string(i) + "]", a[i], b[i]);
      return;
    }
    report(field, shown(a), b.is_null() ? kNothing : shown(b));
  }

  void report(const std::string& field, const std::string& before, const std::string& after) {
    differs_ = true;
    print(subject_ + ": " + (field.empty() ? "" : pipeline::printable(field) + ": ") + before + " -> " +
          after + "\n");
  }

 private:
  static std::string below(const std::string& field, const std::string& key) {
    return field.empty() ? key : field + "." + key;
  }
  static std::string shown(const ordered_json& value) {
    return pipeline::printable(value.dump(-1, ' ', false, ordered_json::error_handler_t::replace));
  }

  std::string subject_;
  bool& differs_;
};

/// The lines of one input: units by what they are, and the closing line.
struct InputLines {
  std::vector<std::pair<std::string, ordered_json>> units;  ///< "scene 3", in order
  ordered_json closing;
};

InputLines parse(const std::string& text) {
  InputLines lines;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text.find('\n', at);
    ordered_json line = ordered_json::parse(text.substr(at, end - at));
    at = end + 1;
    line.erase("input");
    if (line["type"] == "input") {
      lines.closing = std::move(line);
      continue;
    }
    const ordered_json unit = line.value("unit", ordered_json::object());
    const auto word = [&](const char* key) {
      const ordered_json value = unit.value(key, ordered_json());
      return value.is_string() ? value.get<std::string>() : value.dump();
    };
    std::string name = word("kind");
    if (unit.contains("stage")) name += " of " + word("stage");
    name += " " + word("index");
    line.erase("sha256");  // the closing line has it
    lines.units.emplace_back(std::move(name), std::move(line));
  }
  return lines;
}

void compare_inputs(const std::string& name, const std::string& a, const std::string& b, bool& differs) {
  const InputLines before = parse(a);
  const InputLines after = parse(b);
  const std::map<std::string, ordered_json> others(after.units.begin(), after.units.end());
  std::set<std::string> seen;
  for (const auto& [unit, line] : before.units) {
    seen.insert(unit);
    FieldDiff diff(name + " " + pipeline::printable(unit), differs);
    const auto other = others.find(unit);
    if (other == others.end()) {
      diff.report("", "a unit", kNothing);
    } else {
      diff.compare("", line, other->second);
    }
  }
  for (const auto& [unit, line] : after.units) {
    if (!seen.contains(unit)) {
      FieldDiff(name + " " + pipeline::printable(unit), differs).report("", kNothing, "a unit");
    }
  }
  FieldDiff(name, differs).compare("", before.closing, after.closing);
}

}  // namespace

ExitCode diff_command(const DiffFlags& flags) {
  JsonlIndex before(flags.before);
  JsonlIndex after(flags.after);
  std::map<std::string, const JsonlIndex::Input*> others;
  for (const JsonlIndex::Input& input : after.inputs()) others[input.name] = &input;
  bool differs = false;
  for (const JsonlIndex::Input& input : before.inputs()) {
    const std::string name = pipeline::printable(input.name);
    const auto other = others.find(input.name);
    if (other == others.end()) {
      FieldDiff(name, differs).report("", "an input", kNothing);
      continue;
    }
    const std::string a = before.lines(input);
    const std::string b = after.lines(*other->second);
    // Lines that differ as bytes alone (an order of keys) are equal as data.
    if (a != b) compare_inputs(name, a, b, differs);
    others.erase(other);
  }
  for (const JsonlIndex::Input& input : after.inputs()) {
    if (others.contains(input.name)) {
      FieldDiff(pipeline::printable(input.name), differs).report("", kNothing, "an input");
    }
  }
  return differs ? ExitCode::inputs_failed : ExitCode::ok;
}

}  // namespace reelfolio::cli
