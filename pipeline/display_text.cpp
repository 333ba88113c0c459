#include "pipeline/display_text.h"

#include <cmath>
#include <vector>

#include "pipeline/names.h"

namespace reelfolio::pipeline {

std::string shorten_to_end(std::string_view text, std::size_t columns) {
  std::size_t width = display_width(text);
  if (width <= columns) return std::string(text);
  if (columns < 2) return {};
  std::size_t i = 0;
  while (width > columns - 1) width -= stages::character_width(stages::next_character(text, i));
  // A combining mark stays with what was cut.
  for (std::size_t next = i; next < text.size(); i = next) {
    if (stages::character_width(stages::next_character(text, next)) != 0) break;
  }
  return "…" + std::string(text.substr(i));
}

std::string duration_text(double seconds) {
  const auto total = static_cast<long long>(std::isfinite(seconds) && seconds > 0 ? seconds : 0);
  if (total < 60) return std::to_string(total) + " s";
  if (total < 3600) return std::to_string(total / 60) + " min " + std::to_string(total % 60) + " s";
  return std::to_string(total / 3600) + " h " + std::to_string(total % 3600 / 60) + " min";
}

std::string counted(std::size_t count, std::string_view noun) {
  return std::to_string(count) + " " + std::string(noun) + (count == 1 ? "" : "s");
}

std::string place_text(const stages::InputFile& input, const stages::Unit* unit) {
  std::string text = printable(input.name);
  if (unit == nullptr) return text;
  const bool numbered = unit->kind == stages::UnitKind::page;
  return text + ", " + std::string(stages::unit_kind_name(unit->kind)) + " " +
         std::to_string(numbered ? unit->number : unit->index);
}

}  // namespace reelfolio::pipeline
