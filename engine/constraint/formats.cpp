#include "engine/constraint/formats.h"

#include <array>
#include <string>
#include <vector>

#include "engine/constraint/constraint.h"
#include "engine/constraint/regex.h"

namespace reelfolio::engine {

namespace {

constexpr std::string_view kLeapSeconds = "leap seconds in UTC alone";
constexpr std::array kFormats = {
    SchemaFormat{"date", ""},
    SchemaFormat{"date-time", kLeapSeconds},
    SchemaFormat{"email", "parts between dots of 64 characters, labels of 63"},
    SchemaFormat{"time", kLeapSeconds},
    SchemaFormat{"uri", ""},
    SchemaFormat{"uuid", ""},
};

}  // namespace

std::span<const SchemaFormat> schema_formats() {
  return kFormats;
}

}  // namespace reelfolio::engine

namespace reelfolio::engine::constraint {

namespace {

std::string any_of(const std::vector<std::string>& patterns) {
  std::string joined = "(?:";
  for (const std::string& pattern : patterns) joined += (joined.size() > 3 ? "|" : "") + pattern;
  return joined + ")";
}

std::string date() {
  const std::string leap_year = R"((?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00))";
  return any_of({R"(\d{4}-(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01]))",
                 R"(\d{4}-(?:0[469]|11)-(?:0[1-9]|[12]\d|30))", R"(\d{4}-02-(?:0[1-9]|1\d|2[0-8]))",
                 leap_year + "-02-29"});
}

std::string time() {
  const std::string fraction = R"((?:\.\d+)?)";
  return any_of(
      {R"((?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d)" + fraction + R"((?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d))",
       "23:59:60" + fraction + R"((?:[Zz]|[+-]00:00))"});
}

std::string ipv4() {
  const std::string byte = R"((?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d))";
  return byte + R"((?:\.)" + byte + "){3}";
}

std::string ipv6() {
  const std::string group = "[0-9A-Fa-f]{1,4}";
  const std::string last = any_of({group + ":" + group, ipv4()});
  const auto groups = [&](int most) { return "(?:" + group + ":){" + std::to_string(most) + "}"; };
  // Up to `most` groups in front of "::".
  const auto before = [&](int most) {
    return "(?:(?:" + group + ":){0," + std::to_string(most - 1) + "}" + group + ")?::";
  };
  std::vector<std::string> forms = {groups(6) + last, "::" + groups(5) + last};
  for (int most = 1; most <= 5; ++most) forms.push_back(before(most) + groups(5 - most) + last);
  forms.push_back(before(6) + group);
  forms.push_back(before(7));
  return any_of(forms);
}

std::string email() {
  const std::string quoted = R"("(?:[ !#-\[\]-~]|\\[ -~])*")";
  const std::string atom = R"([A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,64})";
  const std::string label = R"([A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)";
  const std::string literal = R"(\[)" + any_of({ipv4(), "IPv6:" + ipv6()}) + R"(\])";
  return any_of({atom + R"((?:\.)" + atom + ")*", quoted}) + "@" +
         any_of({label + R"((?:\.)" + label + ")*", literal});
}

std::string uri() {
  const std::string escaped = "%[0-9A-Fa-f]{2}";
  const std::string plain = R"(A-Za-z0-9._~!$&'()*+,;=\-)";
  const std::string segment = "(?:[" + plain + ":@]|" + escaped + ")";
  const std::string literal = R"(\[)" + any_of({ipv6(), R"(v[0-9A-Fa-f]+\.[)" + plain + ":]+"}) + R"(\])";
  const std::string authority = "(?:(?:[" + plain + ":]|" + escaped + ")*@)?" +
                                any_of({literal, "(?:[" + plain + "]|" + escaped + ")*"}) + R"((?::\d*)?)";
  const std::string path =
      any_of({"//" + authority + "(?:/" + segment + "*)*", "/(?:" + segment + "+(?:/" + segment + "*)*)?",
              segment + "+(?:/" + segment + "*)*", ""});
  const std::string tail = "(?:" + segment + "|[/?])*";
  return "[A-Za-z][A-Za-z0-9+.-]*:" + path + R"((?:\?)" + tail + ")?(?:#" + tail + ")?";
}

Dfa whole_text(const std::string& pattern) {
  return compile_pattern("^" + pattern + "$");
}

}  // namespace

const Dfa* format_texts(std::string_view format) {
  if (format == "date") {
    static const Dfa dfa = whole_text(date());
    return &dfa;
  }
  if (format == "time") {
    static const Dfa dfa = whole_text(time());
    return &dfa;
  }
  if (format == "date-time") {
    static const Dfa dfa = whole_text(date() + "[Tt]" + time());
    return &dfa;
  }
  if (format == "email") {
    static const Dfa dfa = whole_text(email());
    return &dfa;
  }
  if (format == "uri") {
    static const Dfa dfa = whole_text(uri());
    return &dfa;
  }
  if (format == "uuid") {
    const std::string hex = "[0-9A-Fa-f]";
    static const Dfa dfa = whole_text(hex + "{8}(?:-" + hex + "{4}){3}-" + hex + "{12}");
    return &dfa;
  }
  return nullptr;
}

}  // namespace reelfolio::engine::constraint
