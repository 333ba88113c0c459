#pragma once

#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "stages/stage.h"

/// Items, parameters and answers for tests of language stages.
namespace reelfolio::stages::testing {

inline Picture picture(std::optional<double> time_s = std::nullopt, int soft_tokens = 280) {
  auto image = std::make_shared<engine::RgbImage>();
  image->width = image->height = 1;
  image->pixels = {1, 2, 3};
  return {image, soft_tokens, time_s};
}

inline Item page_item(std::optional<std::string> text = std::nullopt) {
  auto input = std::make_shared<InputFile>();
  input->name = "inbox/bill.v2.pdf";
  input->path = "/somewhere/inbox/bill.v2.pdf";
  input->sha256 = std::string(64, 'a');
  input->media = MediaKind::pdf;
  auto unit = std::make_shared<Unit>();
  unit->producer = "pages";
  unit->kind = UnitKind::page;
  unit->index = 2;
  unit->number = 3;
  unit->width_px = 1240;
  unit->height_px = 1754;
  unit->text = std::move(text);
  return {input, unit, {picture()}};
}

inline Item scene_item() {
  auto input = std::make_shared<InputFile>();
  input->name = "inbox/trip.mp4";
  input->path = input->name;
  input->sha256 = std::string(64, 'b');
  input->media = MediaKind::video;
  auto unit = std::make_shared<Unit>();
  unit->producer = "scenes";
  unit->kind = UnitKind::scene;
  unit->index = 3;
  unit->start_s = 12.34549;
  unit->end_s = 15.6824;
  return {input, unit, {picture(13.1, 70), picture(14.9, 70)}};
}

/// The defaults of `type`, with `given` over them.
inline Params params_of(const StageType& type, std::vector<std::pair<std::string, ParamValue>> given) {
  Params params;
  for (const ParamSpec& spec : type.params) params.set(spec.name, spec.default_value);
  for (auto& [name, value] : given) params.set(name, std::move(value));
  return params;
}

inline std::unique_ptr<LanguageStage> make_stage(const StageType& type,
                                                 std::vector<std::pair<std::string, ParamValue>> given,
                                                 const StageContext& context = {}) {
  return type.make_language(params_of(type, std::move(given)), context);
}

/// The text part of the last message.
inline std::string prompt_of(const engine::Request& request) {
  return std::get<engine::TextPart>(request.messages.back().parts.back()).text;
}

inline engine::Answer answer(std::string text, engine::FinishReason reason = engine::FinishReason::stop) {
  engine::Answer result;
  result.text = std::move(text);
  result.finish_reason = reason;
  return result;
}

/// The message of the ParamError that `call` throws, as "param: message"; "" if it throws none.
template <class Call>
std::string param_error(Call&& call) {
  try {
    call();
  } catch (const ParamError& error) {
    return error.param() + ": " + error.what();
  }
  return "";
}

}  // namespace reelfolio::stages::testing
