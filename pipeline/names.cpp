#include "pipeline/names.h"

#include "stages/nearest_name.h"

namespace reelfolio::pipeline {

namespace {

constexpr std::size_t kMaxQuotedBytes = 80;
// Longer names are no typing slips; the bound keeps untrusted names cheap to compare.
constexpr std::size_t kMaxComparedBytes = 64;

}  // namespace

std::string printable(std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string out;
  const auto escape = [&](unsigned char byte) {
    out += "\\x";
    out += kHex[byte >> 4U];
    out += kHex[byte & 0xFU];
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte == '\n') {
      out += "\\n";
    } else if (byte == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || byte == 0x7F) {
      escape(byte);
    } else if (byte == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) >= 0x80 &&
               static_cast<unsigned char>(text[i + 1]) < 0xA0) {
      escape(static_cast<unsigned char>(text[++i]));  // U+0080 to U+009F
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string in_quotes(std::string_view text) {
  std::size_t end = text.size();
  if (end > kMaxQuotedBytes) {
    end = kMaxQuotedBytes;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
  }
  return "'" + printable(text.substr(0, end)) + (end < text.size() ? "...'" : "'");
}

std::string suggestion(std::string_view name, const std::vector<std::string>& candidates) {
  if (!name.empty() && name.size() <= kMaxComparedBytes) {
    const std::vector<std::string_view> views(candidates.begin(), candidates.end());
    const std::string hint = stages::did_you_mean(name, views);
    if (!hint.empty()) return hint;
  }
  if (candidates.empty()) return {};
  if (candidates.size() == 1) return ", expected " + candidates.front();
  return ", expected one of " + joined(candidates, ", ");
}

std::string joined(std::span<const std::string> words, std::string_view last_separator) {
  std::string out;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i > 0) out += i + 1 == words.size() ? last_separator : std::string_view(", ");
    out += words[i];
  }
  return out;
}

}  // namespace reelfolio::pipeline
