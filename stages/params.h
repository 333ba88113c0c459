#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

/// Stage parameters as data: the graph checks, fills in defaults, and prints them
/// without knowing any stage.
namespace reelfolio::stages {

enum class ParamType {
  boolean,
  integer,
  number,
  text,
  choice,     ///< text, one of `choices`
  duration,   ///< number of seconds; written "0.6s", "15ms", "2min", or a bare number of seconds
  path,       ///< text; relative to the graph file's folder
  text_list,  ///< one text or a list of them
  text_map,   ///< name -> text, order kept
};

using TextMap = std::vector<std::pair<std::string, std::string>>;
using ParamValue =
    std::variant<std::monostate, bool, std::int64_t, double, std::string, std::vector<std::string>, TextMap>;

struct ParamSpec {
  std::string name;
  ParamType type = ParamType::text;
  std::string help;            ///< one line; `check --explain` and the all-options graph print it
  ParamValue default_value{};  ///< monostate: no default; the stage sees it as absent
  bool required = false;
  std::vector<std::string> choices{};
  std::optional<double> min{};  ///< inclusive bounds of integer, number and duration (seconds)
  std::optional<double> max{};
};

/// Resolved parameters of one stage: every spec has a value or is absent. Reading a
/// name that the stage did not declare, or as another type, is a bug (assertion).
class Params {
 public:
  void set(const std::string& name, ParamValue value) { values_[name] = std::move(value); }
  bool has(const std::string& name) const;
  bool boolean(const std::string& name) const;
  std::int64_t integer(const std::string& name) const;
  double number(const std::string& name) const;  ///< number and duration; an integer converts
  const std::string& text(const std::string& name) const;
  const std::vector<std::string>& text_list(const std::string& name) const;
  const TextMap& text_map(const std::string& name) const;
  const std::map<std::string, ParamValue>& values() const { return values_; }

 private:
  std::map<std::string, ParamValue> values_;
};

}  // namespace reelfolio::stages
