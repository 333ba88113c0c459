#include "stages/text/encoding.h"

#include <iconv.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstdint>
#include <optional>

#include "stages/utf8.h"

namespace reelfolio::stages {

namespace {

/// Unicode of the bytes 0x80 to 0x9F in Windows-1252; the five that it leaves open are the C1
/// controls of the same number (WHATWG Encoding Standard).
constexpr std::array<char16_t, 32> kWindows1252 = {
    0x20AC, 0x0081, 0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160,
    0x2039, 0x0152, 0x008D, 0x017D, 0x008F, 0x0090, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022,
    0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x009D, 0x017E, 0x0178};

/// How far into a file a declaration of its encoding may stand.
constexpr std::size_t kDeclarationBytes = 1024;

bool is_control(unsigned code) {
  return (code < 0x20 && !(code >= 0x09 && code <= 0x0D) && code != 0x1B) || code == 0x7F;
}

std::string from_windows_1252(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size() + bytes.size() / 8);
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      text += c;
    } else {
      text += engine::utf8_text(byte < 0xA0 ? kWindows1252[byte - 0x80U] : byte);
    }
  }
  return text;
}

class Converter {
 public:
  explicit Converter(const std::string& from) : handle_(iconv_open("UTF-8", from.c_str())) {}
  ~Converter() {
    if (known()) iconv_close(handle_);
  }
  Converter(const Converter&) = delete;
  Converter& operator=(const Converter&) = delete;

  // The value that iconv_open fails with is (iconv_t)-1, by POSIX.
  bool known() const { return reinterpret_cast<std::intptr_t>(handle_) != -1; }

  /// `unit` bytes are skipped where the input is invalid.
  std::string convert(std::string_view bytes, std::size_t unit) {
    std::string text;
    std::array<char, 16384> buffer;
    char* in = const_cast<char*>(bytes.data());  // iconv reads it only
    std::size_t left = bytes.size();
    while (left > 0) {
      char* out = buffer.data();
      std::size_t room = buffer.size();
      const std::size_t result = iconv(handle_, &in, &left, &out, &room);
      const int error = errno;
      text.append(buffer.data(), buffer.size() - room);
      if (result != static_cast<std::size_t>(-1) || error == E2BIG) continue;
      text += engine::kReplacementCharacter;
      const std::size_t skipped = error == EINVAL ? left : std::min(unit, left);
      in += skipped;
      left -= skipped;
    }
    return text;
  }

 private:
  iconv_t handle_;
};

std::size_t unit_bytes(const std::string& encoding) {
  if (encoding.starts_with("UTF-16") || encoding.starts_with("UCS-2")) return 2;
  if (encoding.starts_with("UTF-32") || encoding.starts_with("UCS-4")) return 4;
  return 1;
}

struct Mark {
  std::string_view bytes;
  const char* encoding;
};
/// That of UTF-32 begins like that of UTF-16.
constexpr std::array<Mark, 5> kMarks = {{{std::string_view("\xFF\xFE\0\0", 4), "UTF-32LE"},
                                         {std::string_view("\0\0\xFE\xFF", 4), "UTF-32BE"},
                                         {"\xEF\xBB\xBF", "UTF-8"},
                                         {"\xFF\xFE", "UTF-16LE"},
                                         {"\xFE\xFF", "UTF-16BE"}}};

const Mark* mark_of(std::string_view bytes) {
  const auto found =
      std::ranges::find_if(kMarks, [&](const Mark& mark) { return bytes.starts_with(mark.bytes); });
  return found == kMarks.end() ? nullptr : &*found;
}

/// UTF-16 without surrogates that stand alone, without control characters, and with at least
/// one half of its units ASCII.
bool is_utf16(std::string_view bytes, bool big_endian) {
  // Every line end and space of it holds a zero; other encodings hold none.
  if (bytes.size() < 2 || bytes.size() % 2 != 0 || bytes.find('\0') == std::string_view::npos) return false;
  bool high_surrogate = false;
  std::size_t low_units = 0;
  for (std::size_t i = 0; i < bytes.size(); i += 2) {
    const auto first = static_cast<unsigned char>(bytes[i]);
    const auto second = static_cast<unsigned char>(bytes[i + 1]);
    const unsigned unit = big_endian ? (unsigned{first} << 8U) | second : first | (unsigned{second} << 8U);
    const bool low_surrogate = unit >= 0xDC00 && unit <= 0xDFFF;
    if (low_surrogate != high_surrogate || is_control(unit)) return false;
    high_surrogate = unit >= 0xD800 && unit <= 0xDBFF;
    low_units += unit < 0x80;
  }
  return !high_surrogate && low_units * 2 >= bytes.size() / 2;
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

/// The value behind `key` and '=' in the first bytes, where the file declares its encoding.
std::optional<std::string> declared_encoding(std::string_view bytes) {
  const std::string head = lower(bytes.substr(0, kDeclarationBytes));
  std::size_t at = head.find("<meta");
  std::string_view key = "charset";
  if (head.starts_with("<?xml")) {
    at = 0;
    key = "encoding";
  }
  if (at == std::string::npos) return std::nullopt;
  at = head.find(key, at);
  if (at == std::string::npos) return std::nullopt;
  at = head.find_first_not_of(" =\"'\t\r\n", at + key.size());
  if (at == std::string::npos) return std::nullopt;
  const std::string name = head.substr(at, head.find_first_of(" \"'/>;\t\r\n", at) - at);
  return name.empty() ? std::nullopt : std::optional(name);
}

/// Whether what is not ASCII is valid UTF-8, but for a place where the file is damaged or cut off.
bool is_mostly_utf8(std::string_view bytes) {
  std::size_t valid = 0;
  std::size_t invalid = 0;
  for (std::size_t at = 0; at < bytes.size();) {
    if (static_cast<unsigned char>(bytes[at]) < 0x80) {
      ++at;
      continue;
    }
    const engine::Utf8Step step = engine::read_utf8(bytes.substr(at));
    (step.kind == engine::Utf8Step::Kind::valid ? valid : invalid) += 1;
    at += step.bytes;
  }
  return invalid == 0 || valid > 4 * invalid;
}

DecodedText convert(std::string_view bytes, const std::string& encoding) {
  if (encoding == "UTF-8") return {replace_invalid_utf8(bytes), encoding};
  return {Converter(encoding).convert(bytes, unit_bytes(encoding)), encoding};
}

}  // namespace

bool is_known_encoding(const std::string& name) {
  return name == "auto" || Converter(name).known();
}

DecodedText decode_text(std::string_view bytes, const std::string& encoding) {
  const Mark* mark = mark_of(bytes);
  if (encoding != "auto") {
    DecodedText decoded = convert(bytes, encoding);
    if (decoded.text.starts_with("\uFEFF")) decoded.text.erase(0, 3);
    return decoded;
  }
  if (mark != nullptr) return convert(bytes.substr(mark->bytes.size()), mark->encoding);
  if (is_utf16(bytes, false)) return convert(bytes, "UTF-16LE");
  if (is_utf16(bytes, true)) return convert(bytes, "UTF-16BE");
  if (is_mostly_utf8(bytes)) return convert(bytes, "UTF-8");
  if (const auto declared = declared_encoding(bytes)) {
    // Pages that say Latin-1 mean Windows-1252; one that says UTF-8 and is not lies.
    const bool latin = *declared == "iso-8859-1" || *declared == "latin1" || *declared == "us-ascii" ||
                       *declared == "ascii" || *declared == "windows-1252";
    if (!latin && *declared != "utf-8" && *declared != "utf8" && unit_bytes(*declared) == 1 &&
        is_known_encoding(*declared)) {
      return convert(bytes, *declared);
    }
  }
  return {from_windows_1252(bytes), "WINDOWS-1252"};
}

bool looks_like_text(std::string_view bytes) {
  if (const Mark* mark = mark_of(bytes); mark != nullptr && mark->encoding != std::string_view("UTF-8")) {
    const std::string text = convert(bytes.substr(mark->bytes.size()), mark->encoding).text;
    return text.find(engine::kReplacementCharacter) == std::string::npos &&
           std::ranges::none_of(text, [](char c) { return is_control(static_cast<unsigned char>(c)); });
  }
  if (is_utf16(bytes, false) || is_utf16(bytes, true)) return true;
  return std::ranges::none_of(bytes, [](char c) { return is_control(static_cast<unsigned char>(c)); });
}

}  // namespace reelfolio::stages
