#include "stages/write_jsonl.h"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>

#include "stages/decimal.h"

namespace reelfolio::stages {

namespace {

std::string_view status_name(InputStatus status) {
  switch (status) {
    case InputStatus::ok:
      return "ok";
    case InputStatus::partial:
      return "partial";
    case InputStatus::failed:
      return "failed";
    case InputStatus::skipped:
      break;
  }
  return "skipped";
}

std::string dump(const Json& value) {
  // Text may come from a page or a file name; what is not UTF-8 becomes U+FFFD.
  return value.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

std::string json_text(std::string_view text) {
  return dump(Json(text));
}

std::string time_text(double seconds) {
  return std::isfinite(seconds) ? milliseconds_text(seconds) : "null";
}

bool contains(const std::vector<UnitKind>& kinds, UnitKind kind) {
  return std::ranges::find(kinds, kind) != kinds.end();
}

/// {"kind","stage"?,"index", ...} without the closing brace.
std::string unit_head(const Unit& unit, const std::vector<UnitKind>& name_stage_of) {
  std::string text = R"({"kind":")" + std::string(unit_kind_name(unit.kind)) + '"';
  if (contains(name_stage_of, unit.kind)) text += R"(,"stage":)" + json_text(unit.producer);
  text += R"(,"index":)" + std::to_string(unit.index);
  if (unit.kind == UnitKind::page) text += R"(,"number":)" + std::to_string(unit.number);
  return text;
}

std::string unit_object(const UnitResult& result, const std::vector<UnitKind>& name_stage_of) {
  const Unit& unit = *result.unit;
  std::string text = unit_head(unit, name_stage_of);
  if (unit.kind == UnitKind::text) {
    text += R"(,"first_line":)" + std::to_string(unit.first_line) + R"(,"last_line":)" +
            std::to_string(unit.last_line);
  }
  if (unit.kind == UnitKind::scene || unit.kind == UnitKind::clip || unit.timed) {
    text += R"(,"start_s":)" + time_text(unit.start_s) + R"(,"end_s":)" + time_text(unit.end_s);
  }
  if (unit.kind == UnitKind::page || unit.kind == UnitKind::image) {
    text += R"(,"width_px":)" + std::to_string(unit.width_px) + R"(,"height_px":)" +
            std::to_string(unit.height_px);
  }
  if (!result.frame_times_s.empty()) {
    text += R"(,"frames":[)";
    for (std::size_t i = 0; i < result.frame_times_s.size(); ++i) {
      text += std::string(i > 0 ? "," : "") + R"({"time_s":)" + time_text(result.frame_times_s[i]) + '}';
    }
    text += ']';
  }
  return text + '}';
}

std::string error_object(const ErrorRecord& error, const std::vector<UnitKind>& name_stage_of) {
  std::string text = R"({"stage":)" + json_text(error.stage) + R"(,"unit":)";
  text += error.unit ? unit_head(*error.unit, name_stage_of) + '}' : "null";
  return text + R"(,"code":)" + json_text(error.code) + R"(,"message":)" + json_text(error.message) + '}';
}

class JsonlSink final : public Sink {
 public:
  JsonlSink(const std::filesystem::path& path, std::vector<UnitKind> name_stage_of)
      : file_(path), name_stage_of_(std::move(name_stage_of)) {}

  void write(const InputResult& result) override { file_.write(jsonl_lines(result, name_stage_of_)); }
  void finish() override { file_.finish(); }

 private:
  OutputFile file_;
  std::vector<UnitKind> name_stage_of_;
};

}  // namespace

std::string jsonl_lines(const InputResult& result, const std::vector<UnitKind>& name_stage_of) {
  const std::string input = json_text(result.input->name);
  // An input that could not be read has no hash.
  const std::string sha256 = result.input->sha256.empty() ? "null" : json_text(result.input->sha256);
  const std::string source = R"("input":)" + input + R"(,"sha256":)" + sha256;
  std::string lines;
  for (const UnitResult& unit : result.units) {
    lines += R"({"type":"unit",)" + source + R"(,"unit":)" + unit_object(unit, name_stage_of);
    for (const auto& [stage, value] : unit.results) lines += ',' + json_text(stage) + ':' + dump(value);
    lines += "}\n";
  }
  lines += R"({"type":"input",)" + source + R"(,"media":")" +
           std::string(media_kind_name(result.input->media)) + R"(","status":")" +
           std::string(status_name(result.status)) + R"(","units":)" + std::to_string(result.units.size()) +
           R"(,"errors":[)";
  for (std::size_t i = 0; i < result.errors.size(); ++i) {
    if (i > 0) lines += ',';
    lines += error_object(result.errors[i], name_stage_of);
  }
  lines += ']';
  for (const auto& [stage, value] : result.results) lines += ',' + json_text(stage) + ':' + dump(value);
  return lines + "}\n";
}

std::unique_ptr<Sink> make_jsonl_sink(const std::filesystem::path& path,
                                      const std::vector<UnitKind>& name_stage_of) {
  return std::make_unique<JsonlSink>(path, name_stage_of);
}

}  // namespace reelfolio::stages
