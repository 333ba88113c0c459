#include "engine/constraint/schema_references.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/constraint/keyword_values.h"
#include "engine/json_tree.h"

namespace reelfolio::engine::constraint {

namespace {

using Json = nlohmann::ordered_json;

/// The walk recurses.
constexpr std::size_t kMaxWalkedLevels = 1000;

int hex_value(char c) {
  return c >= '0' && c <= '9'   ? c - '0'
         : c >= 'a' && c <= 'f' ? c - 'a' + 10
         : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                : -1;
}

/// Where the path of a URI begins: behind "scheme:" and "//authority".
std::size_t path_begin(std::string_view uri) {
  const std::size_t colon = uri.find_first_of(":/?#");
  std::size_t at = colon != std::string_view::npos && uri[colon] == ':' && colon > 0 ? colon + 1 : 0;
  if (uri.substr(at).starts_with("//")) at = std::min(uri.find('/', at + 2), uri.size());
  return at;
}

std::string without_dots(std::string_view path) {
  std::vector<std::string_view> steps;
  const bool is_absolute = path.starts_with('/');
  bool ends_open = false;  // in a '/'
  for (std::size_t at = is_absolute ? 1 : 0; at <= path.size();) {
    const std::size_t end = std::min(path.find('/', at), path.size());
    const std::string_view step = path.substr(at, end - at);
    ends_open = step == "." || step == "..";
    if (step == ".." && !steps.empty()) steps.pop_back();
    if (!ends_open) steps.push_back(step);
    at = end + 1;
  }
  std::string out = is_absolute ? "/" : "";
  for (std::size_t i = 0; i < steps.size(); ++i) out += (i > 0 ? "/" : "") + std::string(steps[i]);
  if (ends_open && !steps.empty()) out += '/';
  return out;
}

/// RFC 3986, section 5.2, without the fragments.
std::string resolved(const std::string& base, std::string_view reference) {
  if (reference.empty()) return base;
  if (path_begin(reference) > 0 && !reference.starts_with("//")) return std::string(reference);
  const std::size_t path = path_begin(base);
  if (reference.starts_with("//")) {
    const std::size_t scheme = base.find("//");
    return (scheme == std::string::npos ? std::string() : base.substr(0, scheme)) + std::string(reference);
  }
  const std::string head = base.substr(0, path);
  if (reference.front() == '/') return head + without_dots(reference);
  const std::size_t slash = base.rfind('/');
  const std::string folder = slash == std::string::npos || slash < path ? (path > 0 ? "/" : "")
                                                                        : base.substr(path, slash + 1 - path);
  return head + without_dots(folder + std::string(reference));
}

class References {
 public:
  explicit References(Json& document) : document_(document) {
    const auto dialect = document.is_object() ? document.find("$schema") : document.end();
    draft_7_ = dialect != document.end() && dialect->is_string() &&
               dialect->get_ref<const std::string&>().find("/draft-07/") != std::string::npos;
  }

  void point() {
    visit(document_, "", "");
    for (const auto& [schema, base] : referring_) {
      std::string& text = (*schema)["$ref"].get_ref<std::string&>();
      if (const auto pointer = target(base, text); pointer && pointer->find('%') == std::string::npos)
        text = "#" + *pointer;
    }
    // Erasing moves what the same object holds: inner objects first.
    for (auto each = named_.rbegin(); each != named_.rend(); ++each) each->first->erase(each->second);
  }

 private:
  void visit(Json& node, const std::string& pointer, std::string base) {
    if (!node.is_object()) return;
    if (pointer.empty()) resources_.emplace(base, pointer);
    // Draft 7 ignores what stands beside $ref.
    const auto id = draft_7_ && node.contains("$ref") ? node.end() : node.find("$id");
    if (id != node.end() && id->is_string()) {
      const std::string_view text = id->get_ref<const std::string&>();
      const std::size_t hash = std::min(text.find('#'), text.size());
      base = resolved(base, text.substr(0, hash));
      // Draft 7 names places in this way.
      if (hash + 1 < text.size()) anchors_.emplace(base + std::string(text.substr(hash)), pointer);
      if (hash > 0) resources_.emplace(base, pointer);
      named_.emplace_back(&node, "$id");
    }
    if (const auto anchor = node.find("$anchor"); anchor != node.end() && anchor->is_string()) {
      anchors_.emplace(base + "#" + anchor->get<std::string>(), pointer);
      named_.emplace_back(&node, "$anchor");
    }
    if (const auto ref = node.find("$ref"); ref != node.end() && ref->is_string())
      referring_.emplace_back(&node, base);
    for (auto& [name, value] : node.items()) {
      const std::string here = pointer + "/" + pointer_step(name);
      const KeywordValue kind = keyword_value(name);
      const bool is_either = kind == KeywordValue::schema_or_schemas;
      if (value.is_object() && (kind == KeywordValue::schema || is_either)) {
        visit(value, here, base);
      } else if (value.is_array() && (kind == KeywordValue::schemas || is_either)) {
        for (std::size_t i = 0; i < value.size(); ++i) visit(value[i], here + "/" + std::to_string(i), base);
      } else if (value.is_object() &&
                 (kind == KeywordValue::schema_map || kind == KeywordValue::dependencies)) {
        for (auto& [key, schema] : value.items()) visit(schema, here + "/" + pointer_step(key), base);
      }
    }
  }

  /// The pointer of what a reference leads to.
  std::optional<std::string> target(const std::string& base, std::string_view text) const {
    const std::size_t hash = std::min(text.find('#'), text.size());
    const std::string uri = resolved(base, text.substr(0, hash));
    const std::string fragment(hash < text.size() ? text.substr(hash + 1) : "");
    if (!fragment.empty() && fragment.front() != '/') {
      const auto found = anchors_.find(uri + "#" + fragment);
      return found == anchors_.end() ? std::nullopt : std::optional(found->second);
    }
    const auto resource = resources_.find(uri);
    const auto below = percent_decoded(fragment);
    if (resource == resources_.end() || !below) return std::nullopt;
    return resource->second + *below;
  }

  Json& document_;
  bool draft_7_;
  std::map<std::string, std::string> resources_;          ///< URI without fragment -> pointer
  std::map<std::string, std::string> anchors_;            ///< URI with fragment -> pointer
  std::vector<std::pair<Json*, std::string>> referring_;  ///< schema with $ref, its base URI
  std::vector<std::pair<Json*, const char*>> named_;      ///< schema, keyword
};

}  // namespace

std::optional<std::string> percent_decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (i + 2 >= text.size() || hex_value(text[i + 1]) < 0 || hex_value(text[i + 2]) < 0) return std::nullopt;
    out += static_cast<char>(16 * hex_value(text[i + 1]) + hex_value(text[i + 2]));
    i += 2;
  }
  return out;
}

void point_references(Json& document) {
  if (nests_deeper_than(document, kMaxWalkedLevels)) return;
  References(document).point();
}

}  // namespace reelfolio::engine::constraint
