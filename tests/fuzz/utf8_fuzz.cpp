#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "engine/utf8.h"
#include "stages/utf8.h"

using namespace reelfolio;

namespace {

void require(bool fine) {
  if (!fine) std::abort();
}

}  // namespace

/// Bytes as text: what replaces, what checks pieces, and simdjson, which checks the whole, agree.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::string text = stages::replace_invalid_utf8(bytes);
  require(engine::is_valid_utf8(text));
  require((text == bytes) == engine::is_valid_utf8(bytes));

  stages::Utf8Check whole;
  whole.feed(bytes);
  stages::Utf8Check pieces;
  for (std::size_t at = 0; at < size; at += 3) pieces.feed(bytes.substr(at, 3));
  require(whole.complete() == engine::is_valid_utf8(bytes) && pieces.complete() == whole.complete());

  for (const std::size_t max_bytes : {std::size_t{0}, std::size_t{1}, size / 2, size, size + 1}) {
    std::string cut = text;
    stages::truncate_utf8(cut, max_bytes);
    require(cut.size() <= max_bytes && text.compare(0, cut.size(), cut) == 0);
    require(cut.size() + 3 >= std::min(max_bytes, text.size()) && engine::is_valid_utf8(cut));
  }
  return 0;
}
