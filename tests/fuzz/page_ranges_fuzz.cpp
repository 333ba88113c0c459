#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "stages/error.h"
#include "stages/page_ranges.h"

using reelfolio::stages::PageRanges;

/// Page ranges as written: ranges or a ParamError. Blanks and repetition change nothing.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  try {
    const PageRanges ranges = PageRanges::parse("pages", text);
    std::string dense = text;
    dense.erase(std::remove_if(dense.begin(), dense.end(),
                               [](char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }),
                dense.end());
    const PageRanges twice = PageRanges::parse("pages", dense + " , " + dense);
    constexpr int kPageCounts[] = {1, 2, 30, 2147483647};
    for (const int page_count : kPageCounts) {
      for (const int number : {1, 2, 29, 30, 2147483646, 2147483647}) {
        if (ranges.contains(number, page_count) != twice.contains(number, page_count)) std::abort();
      }
    }
  } catch (const reelfolio::stages::ParamError&) {
  }
  return 0;
}
