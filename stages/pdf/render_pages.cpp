#include "stages/pdf/render_pages.h"

#include <optional>
#include <utility>

#include "stages/byte_source.h"
#include "stages/page_ranges.h"
#include "stages/pdf/document.h"
#include "stages/soft_token_budget.h"

namespace reelfolio::stages {
namespace {

struct PageSettings {
  std::string stage_name;
  std::filesystem::path password_file;
  double dpi;
  PageSelection pages;
  int soft_tokens;
  std::uint64_t max_pixels;
  bool text;
};

class PdfWorker final : public Transform::Worker {
 public:
  explicit PdfWorker(const PageSettings& settings) : settings_(settings) {}

  void process(const Item& item, Emitter& out) override {
    if (ByteSource(item.input->path).size() != item.input->size_bytes) {
      throw ItemError("input.changed", "changed since it was looked at");
    }
    PdfDocument document(item.input->path, settings_.password_file);
    settings_.pages.each(document.page_count(), "pdf", out,
                         [&](int number) { render_page(item, document, number, out); });
  }

 private:
  void render_page(const Item& item, PdfDocument& document, int number, Emitter& out) const {
    auto unit = std::make_shared<Unit>();
    unit->producer = settings_.stage_name;
    unit->kind = UnitKind::page;
    unit->index = number - 1;
    unit->number = number;
    PdfDocument::Page page;
    try {
      page = document.render(number - 1, settings_.dpi, settings_.max_pixels, settings_.text);
    } catch (const ItemError& error) {
      out.error(error, std::move(unit));
      return;
    }
    unit->width_px = page.image.width;
    unit->height_px = page.image.height;
    unit->text = std::move(page.text);
    unit->words = std::move(page.words);
    Item made{item.input, std::move(unit), {}};
    made.pictures.push_back(
        {std::make_shared<engine::RgbImage>(std::move(page.image)), settings_.soft_tokens, std::nullopt});
    out.emit(std::move(made));
  }

  const PageSettings& settings_;  // of the stage, which outlives its workers
};

class RenderPages final : public Transform {
 public:
  RenderPages(const Params& params, const StageContext& context)
      : settings_{context.stage_name,     context.password_file,
                  params.number("dpi"),   PageSelection(params),
                  soft_tokens_of(params), static_cast<std::uint64_t>(params.integer("max_pixels")),
                  params.boolean("text")} {}
  std::unique_ptr<Worker> make_worker() const override { return std::make_unique<PdfWorker>(settings_); }

 private:
  PageSettings settings_;
};

}  // namespace

StageType render_pages_type() {
  StageType type;
  type.name = "render_pages";
  type.help = "renders the pages of PDFs to pictures and keeps their text layer";
  type.accepts = {ItemType::pdf};
  type.produces = {ItemType::page};
  type.params = {
      {.name = "dpi",
       .type = ParamType::number,
       .help = "resolution of the rendered page in pixels per inch",
       .default_value = 150.0,
       .min = 1,
       .max = 2400},
      pages_param("pages by number"),
      {.name = "exclude", .type = ParamType::text, .help = "pages to leave out, written as in `pages`"},
      soft_tokens_param(1120),
      max_pages_param(),
      {.name = "max_pixels",
       .type = ParamType::integer,
       .help = "pixels of one page; a larger one is rendered at a lower resolution",
       .default_value = std::int64_t{20'000'000},
       .min = 1,
       .max = 500'000'000},
      {.name = "text",
       .type = ParamType::boolean,
       .help = "keep the page's own text, for prompts and to find extracted text on the page",
       .default_value = true},
  };
  type.make_transform = [](const Params& params, const StageContext& context) -> std::unique_ptr<Transform> {
    return std::make_unique<RenderPages>(params, context);
  };
  return type;
}

}  // namespace reelfolio::stages
