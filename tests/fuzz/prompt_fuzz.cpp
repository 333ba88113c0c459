#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "stages/error.h"
#include "stages/language/prompt_template.h"

using namespace reelfolio::stages;

namespace {

Item make_item(UnitKind kind, const std::string& text) {
  auto input = std::make_shared<InputFile>();
  input->name = text;
  auto unit = std::make_shared<Unit>();
  unit->kind = kind;
  unit->start_s = 1.2345;
  unit->end_s = 1e300;
  unit->text = text;
  Item item;
  item.input = input;
  item.unit = unit;
  Picture picture;
  picture.time_s = -0.0004;
  item.pictures = {picture, {}};
  return item;
}

}  // namespace

/// A prompt template: rendered or a ParamError. The input also stands for the values that
/// are inserted, which are never read as a template.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  static const Item scene = make_item(UnitKind::scene, "a{b");
  constexpr std::string_view kExtra[] = {"question"};
  const PromptTemplate::Extra values = {{"question", text}};
  PromptTemplate::Options options;
  options.extra = kExtra;
  if (PromptTemplate::compile(escape_template(text), options).render(scene) != text) std::abort();
  const PromptTemplate page_text = PromptTemplate::compile("{page.text}{question}", options);
  if (page_text.render(make_item(UnitKind::page, text), values) != text + text) std::abort();
  try {
    const PromptTemplate compiled = PromptTemplate::compile(text, options);
    compiled.render(scene, values);
    compiled.render(make_item(UnitKind::page, text), values);
    compiled.render(make_item(UnitKind::image, ""), values);
    if (compiled.uses("question") && text.find("{question}") == std::string::npos) std::abort();
  } catch (const ParamError&) {
  }
  return 0;
}
