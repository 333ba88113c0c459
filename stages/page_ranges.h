#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace reelfolio::stages {

/// Page numbers (from 1) as people write them: "3", "1-20", "1,3,5-", "-5" (the first
/// five), "last", "9-last". Blanks do not matter, order and repetition do not either.
class PageRanges {
 public:
  /// `param` names the parameter in the error. Throws ParamError.
  static PageRanges parse(const std::string& param, std::string_view text);

  /// Whether `number` (from 1) is meant in a document of `page_count` pages. Numbers beyond
  /// its end are no error.
  bool contains(int number, int page_count) const;

 private:
  struct Range {
    int first;  ///< kLast for the last page
    int last;
  };
  static constexpr int kLast = 0;
  std::vector<Range> ranges_;
};

}  // namespace reelfolio::stages
