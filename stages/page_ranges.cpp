#include "stages/page_ranges.h"

#include <algorithm>
#include <charconv>

#include "stages/error.h"

namespace reelfolio::stages {
namespace {

std::string_view trim(std::string_view text) {
  const auto begin = text.find_first_not_of(" \t\n\r");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\n\r") - begin + 1);
}

}  // namespace

PageRanges PageRanges::parse(const std::string& param, std::string_view text) {
  const auto refuse = [&](std::string_view part, const std::string& reason) {
    throw ParamError(param, "'" + std::string(part) + "' " + reason +
                                ", expected page numbers such as \"1-20\", \"1,3,5-\", \"-5\" or \"last\"");
  };
  const auto number = [&](std::string_view part, std::string_view whole) {
    if (part == "last") return kLast;
    int value = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    if (error != std::errc() || end != part.data() + part.size() || part.front() == '-') {
      refuse(whole, "is no page range");
    }
    if (value < 1) refuse(whole, "names page 0, but pages count from 1");
    return value;
  };

  PageRanges result;
  for (std::size_t start = 0; start <= text.size();) {
    const std::size_t comma = std::min(text.find(',', start), text.size());
    const std::string_view part = trim(text.substr(start, comma - start));
    start = comma + 1;
    const std::size_t dash = part.find('-');
    const std::string_view before = trim(part.substr(0, dash));
    const std::string_view after = dash == std::string_view::npos ? before : trim(part.substr(dash + 1));
    if (before.empty() && after.empty()) refuse(part, "is no page range");
    const Range range{before.empty() ? 1 : number(before, part), after.empty() ? kLast : number(after, part)};
    const bool backwards = range.last != kLast && (range.first == kLast || range.first > range.last);
    if (backwards) refuse(part, "runs backwards");
    result.ranges_.push_back(range);
  }
  return result;
}

bool PageRanges::contains(int number, int page_count) const {
  return std::any_of(ranges_.begin(), ranges_.end(), [&](const Range& range) {
    return number >= (range.first == kLast ? page_count : range.first) &&
           number <= (range.last == kLast ? page_count : range.last);
  });
}

ParamSpec pages_param(const std::string& help) {
  return {.name = "pages",
          .type = ParamType::text,
          .help = help + R"(: "1-20", "1,3,5-", "-5" (the first five), "last")",
          .default_value = std::string("1-")};
}

ParamSpec max_pages_param() {
  return {.name = "max_pages",
          .type = ParamType::integer,
          .help = "pages of one file; more are left out and reported",
          .default_value = std::int64_t{10000},
          .min = 1,
          .max = 1000000};
}

PageSelection::PageSelection(const Params& params)
    : pages_(PageRanges::parse("pages", params.text("pages"))),
      max_pages_(static_cast<int>(params.integer("max_pages"))) {
  if (params.has("exclude")) exclude_ = PageRanges::parse("exclude", params.text("exclude"));
}

ItemError PageSelection::over_limit(const std::string& format) const {
  return ItemError(format + ".page_limit", "has more than " + std::to_string(max_pages_) +
                                               " of the selected pages; the rest is left out");
}

ItemError PageSelection::none_selected(const std::string& format, int page_count) {
  return ItemError(format + ".page_range",
                   "none of the selected pages exists (" + std::to_string(page_count) + " in the file)");
}

}  // namespace reelfolio::stages
