#pragma once

#include <string>
#include <string_view>

/// From the bytes of a text file to UTF-8.
namespace reelfolio::stages {

struct DecodedText {
  std::string text;      ///< valid UTF-8, without a byte order mark
  std::string encoding;  ///< what it was read as, "UTF-8", "UTF-16LE", "WINDOWS-1252", ...
};

/// Reads `bytes` as `encoding`, a name that iconv knows, or finds out with "auto", in this order:
///
///   a byte order mark (UTF-8, UTF-16, UTF-32)
///   UTF-16 without a mark, where at least half of the units are ASCII and none is a
///     control character
///   UTF-8, where all of it is valid, or four in five of its sequences of several bytes
///   what the file says of itself: charset in an HTML <meta>, encoding in an XML declaration
///   Windows-1252, which holds Latin-1 too and gives every byte a character
///
/// What is not valid becomes U+FFFD. Throws nothing but std::bad_alloc for "auto" and names
/// for which is_known_encoding holds.
DecodedText decode_text(std::string_view bytes, const std::string& encoding = "auto");

/// "auto", or a name from which this system can convert.
bool is_known_encoding(const std::string& name);

/// Whether bytes that are no valid UTF-8 read like text all the same: UTF-16 or UTF-32 as
/// decode_text finds them, or a single- or multi-byte encoding without control characters.
bool looks_like_text(std::string_view bytes);

}  // namespace reelfolio::stages
