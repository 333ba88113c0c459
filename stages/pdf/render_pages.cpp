#include "stages/pdf/render_pages.h"

#include <optional>
#include <utility>

#include "stages/byte_source.h"
#include "stages/page_ranges.h"
#include "stages/pdf/document.h"
#include "stages/soft_token_budget.h"

namespace reelfolio::stages {
namespace {

struct Settings {
  std::string stage_name;
  std::filesystem::path password_file;
  double dpi;
  PageRanges pages;
  std::optional<PageRanges> exclude;
  int soft_tokens;
  std::uint64_t max_pixels;
  int max_pages;
  bool text;

  bool selects(int number, int page_count) const {
    return pages.contains(number, page_count) && !(exclude && exclude->contains(number, page_count));
  }
};

class PdfWorker final : public Transform::Worker {
 public:
  explicit PdfWorker(const Settings& settings) : settings_(settings) {}

  void process(const Item& item, Emitter& out) override {
    if (ByteSource(item.input->path).size() != item.input->size_bytes) {
      throw ItemError("input.changed", "changed since it was looked at");
    }
    PdfDocument document(item.input->path, settings_.password_file);
    const int count = document.page_count();
    int rendered = 0;
    for (int number = 1; number <= count; ++number) {
      if (!settings_.selects(number, count)) continue;
      if (rendered++ == settings_.max_pages) {
        out.error(ItemError("pdf.page_limit", "has more than " + std::to_string(settings_.max_pages) +
                                                  " of the selected pages; the rest is left out"),
                  nullptr);
        return;
      }
      render_page(item, document, number, out);
    }
    if (rendered == 0) {
      throw ItemError("pdf.page_range",
                      "none of the selected pages exists (" + std::to_string(count) + " in the file)");
    }
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
    Item made{item.input, std::move(unit), {}};
    made.pictures.push_back(
        {std::make_shared<engine::RgbImage>(std::move(page.image)), settings_.soft_tokens, std::nullopt});
    out.emit(std::move(made));
  }

  const Settings& settings_;  // of the stage, which outlives its workers
};

class RenderPages final : public Transform {
 public:
  RenderPages(const Params& params, const StageContext& context)
      : settings_{context.stage_name,
                  context.password_file,
                  params.number("dpi"),
                  PageRanges::parse("pages", params.text("pages")),
                  std::nullopt,
                  soft_tokens_of(params),
                  static_cast<std::uint64_t>(params.integer("max_pixels")),
                  static_cast<int>(params.integer("max_pages")),
                  params.boolean("text")} {
    if (params.has("exclude")) settings_.exclude = PageRanges::parse("exclude", params.text("exclude"));
  }
  std::unique_ptr<Worker> make_worker() const override { return std::make_unique<PdfWorker>(settings_); }

 private:
  Settings settings_;
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
      {.name = "pages",
       .type = ParamType::text,
       .help = "pages by number: \"1-20\", \"1,3,5-\", \"-5\" (the first five), \"last\"",
       .default_value = std::string("1-")},
      {.name = "exclude", .type = ParamType::text, .help = "pages to leave out, written as in `pages`"},
      soft_tokens_param(1120),
      {.name = "max_pages",
       .type = ParamType::integer,
       .help = "pages of one file; more are left out and reported",
       .default_value = std::int64_t{10000},
       .min = 1,
       .max = 1000000},
      {.name = "max_pixels",
       .type = ParamType::integer,
       .help = "pixels of one page; a larger one is rendered at a lower resolution",
       .default_value = std::int64_t{20'000'000},
       .min = 1,
       .max = 500'000'000},
      {.name = "text",
       .type = ParamType::boolean,
       .help = "keep the page's own text for prompts with {page.text}",
       .default_value = true},
  };
  type.make_transform = [](const Params& params, const StageContext& context) -> std::unique_ptr<Transform> {
    return std::make_unique<RenderPages>(params, context);
  };
  return type;
}

}  // namespace reelfolio::stages
