#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "stages/error.h"
#include "stages/params.h"
#include "stages/stage.h"

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

/// The parameters `pages` and `max_pages` of the stages that open files of several pages.
/// `help` says whose pages.
ParamSpec pages_param(const std::string& help);
ParamSpec max_pages_param();

/// Which pages of a file such a stage takes.
class PageSelection {
 public:
  /// Reads `pages`, `max_pages` and, where the stage has it, `exclude`. Throws ParamError.
  explicit PageSelection(const Params& params);

  /// Calls visit(number) for each selected page, in order, at most max_pages times. Beyond that
  /// reports `format`.page_limit to `out`; throws `format`.page_range if no page is selected.
  /// Tells `out` how far it has got.
  template <class Visit>
  void each(int page_count, const std::string& format, Emitter& out, const Visit& visit) const {
    int taken = 0;
    for (int number = 1; number <= page_count; ++number) {
      if (!selects(number, page_count)) continue;
      if (taken++ == max_pages_) {
        out.error(over_limit(format), nullptr);
        return;
      }
      visit(number);
      out.advanced(static_cast<double>(number) / page_count);
    }
    if (taken == 0) throw none_selected(format, page_count);
  }

 private:
  bool selects(int number, int page_count) const {
    return pages_.contains(number, page_count) && !(exclude_ && exclude_->contains(number, page_count));
  }
  ItemError over_limit(const std::string& format) const;
  static ItemError none_selected(const std::string& format, int page_count);

  PageRanges pages_;
  std::optional<PageRanges> exclude_;
  int max_pages_;
};

}  // namespace reelfolio::stages
