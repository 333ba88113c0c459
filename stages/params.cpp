#include "stages/params.h"

#include <cassert>
#include <stdexcept>

namespace reelfolio::stages {

namespace {

/// The value of `name` as T. A wrong name or type is a mistake in a stage's code; without
/// assertions it still must not read something else.
template <class T>
const T& get(const std::map<std::string, ParamValue>& values, const std::string& name) {
  const auto found = values.find(name);
  assert(found != values.end() && "the stage did not declare this parameter");
  if (found == values.end()) throw std::logic_error("parameter '" + name + "' is not declared");
  const T* value = std::get_if<T>(&found->second);
  assert(value != nullptr && "the parameter is absent or of another type");
  if (value == nullptr) throw std::logic_error("parameter '" + name + "' is absent or of another type");
  return *value;
}

}  // namespace

bool Params::has(const std::string& name) const {
  const auto found = values_.find(name);
  return found != values_.end() && !std::holds_alternative<std::monostate>(found->second);
}

bool Params::boolean(const std::string& name) const {
  return get<bool>(values_, name);
}

std::int64_t Params::integer(const std::string& name) const {
  return get<std::int64_t>(values_, name);
}

double Params::number(const std::string& name) const {
  const auto found = values_.find(name);
  if (found != values_.end()) {
    if (const auto* whole = std::get_if<std::int64_t>(&found->second)) return static_cast<double>(*whole);
  }
  return get<double>(values_, name);
}

const std::string& Params::text(const std::string& name) const {
  return get<std::string>(values_, name);
}

const std::vector<std::string>& Params::text_list(const std::string& name) const {
  return get<std::vector<std::string>>(values_, name);
}

const TextMap& Params::text_map(const std::string& name) const {
  return get<TextMap>(values_, name);
}

}  // namespace reelfolio::stages
