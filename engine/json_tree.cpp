#include "engine/json_tree.h"

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

namespace reelfolio::engine {

using Json = nlohmann::ordered_json;

bool nests_deeper_than(const Json& value, std::size_t levels) {
  std::vector<const Json*> layer = {&value};
  for (std::size_t depth = 0; !layer.empty(); ++depth) {
    if (depth > levels) return true;
    std::vector<const Json*> next;
    for (const Json* each : layer) {
      for (const Json& child : *each) {
        if (child.is_structured()) next.push_back(&child);
      }
    }
    layer = std::move(next);
  }
  return false;
}

std::string pointer_step(std::string_view key) {
  std::string out;
  for (const char c : key) {
    if (c == '~') {
      out += "~0";
    } else if (c == '/') {
      out += "~1";
    } else {
      out += c;
    }
  }
  return out;
}

const Json* at_pointer(const Json& root, const std::string& pointer) {
  try {
    const Json::json_pointer parsed(pointer);
    return root.contains(parsed) ? &root.at(parsed) : nullptr;
  } catch (const Json::exception&) {
    return nullptr;
  }
}

}  // namespace reelfolio::engine
