#include "stages/language/schema_sketch.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include "stages/language/schema_check.h"

namespace reelfolio::stages {

namespace {

/// How often a $ref may stand within itself before the sketch breaks off.
constexpr int kMaxUnrolled = 2;
/// Schemas that refer to each other unroll to more than any prompt holds.
constexpr std::size_t kMaxBytes = 64U * 1024;
constexpr int kMaxIndent = 200;

std::string one_line(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c == '\n' || c == '\r' || c == '\t'; }, ' ');
  return text;
}

class Sketch {
 public:
  explicit Sketch(const Json& root) : root_(root) {}

  /// Appends the form of `node`. Where it opens a bracket, `remark` follows that bracket;
  /// otherwise `remark` is left for the caller, who puts it behind the comma.
  void write(const Json& node, int indent, std::string& remark) {
    if (out.size() > kMaxBytes || indent > kMaxIndent) {
      out += "...";
      return;
    }
    if (node.is_object() && node.contains("$ref")) {
      const std::string& ref = node["$ref"].get_ref<const std::string&>();
      if (std::ranges::count(open_refs_, ref) >= kMaxUnrolled) {
        out += "...";
        return;
      }
      open_refs_.push_back(ref);
      write(resolve_ref(root_, node), indent, remark);
      open_refs_.pop_back();
      return;
    }
    if (!node.is_object()) {
      out += "any value";
    } else if (node.contains("const")) {
      out += node["const"].dump();
    } else if (node.contains("enum")) {
      write_alternatives(node["enum"]);
    } else if (node.contains("properties") || has_type(node, "object")) {
      write_object(node, indent, remark);
      if (has_type(node, "null")) out += " | null";
    } else if (node.contains("items") || node.contains("prefixItems") || has_type(node, "array")) {
      write_array(node, indent, remark);
      if (has_type(node, "null")) out += " | null";
    } else if (node.contains("anyOf") || node.contains("oneOf")) {
      const Json& choices = node.contains("anyOf") ? node["anyOf"] : node["oneOf"];
      for (std::size_t i = 0; i < choices.size(); ++i) {
        if (i > 0) out += " | ";
        write(choices[i], indent, remark);
      }
    } else if (!node.contains("type") && node.contains("allOf")) {
      write(node["allOf"][0], indent, remark);
    } else {
      write_scalar(node);
    }
  }

  std::string out;

 private:
  static bool has_type(const Json& node, std::string_view type) {
    if (!node.contains("type")) return false;
    const Json& types = node["type"];
    if (types.is_string()) return types.get_ref<const std::string&>() == type;
    return std::ranges::any_of(types,
                               [&](const Json& each) { return each.get_ref<const std::string&>() == type; });
  }

  void write_alternatives(const Json& values) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (i > 0) out += " | ";
      out += values[i].dump();
    }
  }

  void write_scalar(const Json& node) {
    if (!node.contains("type")) {
      out += "any value";
      return;
    }
    const Json types = node["type"].is_array() ? node["type"] : Json::array({node["type"]});
    for (std::size_t i = 0; i < types.size(); ++i) {
      if (i > 0) out += " | ";
      const auto& type = types[i].get_ref<const std::string&>();
      out += type == "boolean" ? "true | false" : type;
      if (type == "string" && node.contains("format")) {
        const auto& format = node["format"].get_ref<const std::string&>();
        out += " (" + format + (format == "date" ? ", YYYY-MM-DD" : "") + ")";
      } else if (type == "string" && node.contains("pattern")) {
        out += " (pattern " + node["pattern"].get_ref<const std::string&>() + ")";
      }
    }
  }

  void open(char bracket, std::string& remark) {
    out += bracket;
    if (!remark.empty()) out += "  // " + remark;
    remark.clear();
    out += '\n';
  }

  void write_object(const Json& node, int indent, std::string& remark) {
    if (!node.contains("properties") || node["properties"].empty()) {
      out += "object";
      return;
    }
    open('{', remark);
    const Json& properties = node["properties"];
    std::size_t left = properties.size();
    for (const auto& [name, property] : properties.items()) {
      out += std::string(static_cast<std::size_t>(indent) + 2, ' ') + Json(name).dump() + ": ";
      std::string note = describe(node, name, property);
      write(property, indent + 2, note);
      if (--left > 0) out += ',';
      if (!note.empty()) out += "  // " + note;
      out += '\n';
    }
    out += std::string(static_cast<std::size_t>(indent), ' ') + "}";
  }

  void write_array(const Json& node, int indent, std::string& remark) {
    const char* listed = node.contains("prefixItems") ? "prefixItems" : "items";
    if (node.contains(listed) && node[listed].is_array()) return write_listed(node, listed, indent);
    if (!node.contains("items")) {
      out += "array";
      return;
    }
    const Json& items = resolve_ref(root_, node["items"]);
    if (!(items.is_object() && (items.contains("properties") || items.contains("items")))) {
      out += '[';
      std::string note;
      write(node["items"], indent, note);
      out += ", ...]";
      return;
    }
    open('[', remark);
    const std::string inner(static_cast<std::size_t>(indent) + 2, ' ');
    out += inner;
    std::string note = items.contains("description") ? one_line(items["description"]) : "";
    write(node["items"], indent + 2, note);
    out += ",\n" + inner + "...\n" + std::string(static_cast<std::size_t>(indent), ' ') + "]";
  }

  void write_listed(const Json& node, const char* keyword, int indent) {
    out += '[';
    for (std::size_t i = 0; i < node[keyword].size(); ++i) {
      if (i > 0) out += ", ";
      std::string note;
      write(node[keyword][i], indent, note);
    }
    const auto rest = node.find(std::string_view(keyword) == "items" ? "additionalItems" : "items");
    out += rest != node.end() && rest->is_boolean() && !rest->get<bool>() ? "]" : ", ...]";
  }

  /// Description of a property (its own, or that of the schema it refers to), and whether
  /// it may be left out.
  std::string describe(const Json& object, const std::string& name, const Json& property) const {
    std::string note;
    const Json& resolved = resolve_ref(root_, property);
    for (const Json* each : {&property, &resolved}) {
      if (note.empty() && each->is_object() && each->contains("description")) {
        note = one_line((*each)["description"]);
      }
    }
    const bool required = object.contains("required") &&
                          std::ranges::find(object["required"], Json(name)) != object["required"].end();
    if (!required) note = note.empty() ? "optional" : "optional; " + note;
    return note;
  }

  const Json& root_;
  std::vector<std::string> open_refs_;
};

}  // namespace

std::string schema_sketch(const Json& schema) {
  Sketch sketch(schema);
  std::string remark;
  sketch.write(schema, 0, remark);
  return sketch.out;
}

}  // namespace reelfolio::stages
