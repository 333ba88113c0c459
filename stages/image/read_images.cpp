#include "stages/image/read_images.h"

#include <utility>

#include "stages/image/picture_reader.h"
#include "stages/page_ranges.h"
#include "stages/soft_token_budget.h"

namespace reelfolio::stages {
namespace {

struct PictureSettings {
  std::string stage_name;
  int soft_tokens;
  std::uint64_t max_pixels;
  PageSelection pages;
};

class ImageWorker final : public Transform::Worker {
 public:
  explicit ImageWorker(const PictureSettings& settings) : settings_(settings) {}

  void process(const Item& item, Emitter& out) override {
    if (ByteSource(item.input->path).size() != item.input->size_bytes) {
      throw ItemError("input.changed", "changed since it was looked at");
    }
    const std::unique_ptr<PictureReader> reader = open_picture(item.input->path, settings_.max_pixels);
    settings_.pages.each(reader->pages(), "image", out,
                         [&](int number) { read_page(item, *reader, number - 1, out); });
  }

 private:
  void read_page(const Item& item, PictureReader& reader, int index, Emitter& out) const {
    auto unit = std::make_shared<Unit>();
    unit->producer = settings_.stage_name;
    unit->kind = UnitKind::image;
    unit->index = index;
    unit->number = index + 1;
    auto image = std::make_shared<engine::RgbImage>();
    try {
      *image = reader.read(index);
    } catch (const ItemError& error) {
      if (reader.pages() == 1) throw;
      out.error(error, std::move(unit));
      return;
    }
    unit->width_px = image->width;
    unit->height_px = image->height;
    Item made{item.input, std::move(unit), {}};
    made.pictures.push_back({std::move(image), settings_.soft_tokens, std::nullopt});
    out.emit(std::move(made));
  }

  const PictureSettings& settings_;  // of the stage, which outlives its workers
};

class ReadImages final : public Transform {
 public:
  ReadImages(const Params& params, const StageContext& context)
      : settings_{context.stage_name, soft_tokens_of(params),
                  static_cast<std::uint64_t>(params.integer("max_pixels")), PageSelection(params)} {}
  std::unique_ptr<Worker> make_worker() const override { return std::make_unique<ImageWorker>(settings_); }

 private:
  PictureSettings settings_;
};

}  // namespace

StageType read_images_type() {
  StageType type;
  type.name = "read_images";
  type.help = "decodes image files; each page of a TIFF is a unit";
  type.accepts = {ItemType::image_file};
  type.produces = {ItemType::image};
  type.params = {
      soft_tokens_param(280),
      pages_param("pages of a TIFF"),
      max_pages_param(),
      {.name = "max_pixels",
       .type = ParamType::integer,
       .help = "pixels of one picture; a larger one is an error, three bytes each are held",
       .default_value = std::int64_t{150'000'000},
       .min = 1,
       .max = 2'000'000'000},
  };
  type.make_transform = [](const Params& params, const StageContext& context) -> std::unique_ptr<Transform> {
    return std::make_unique<ReadImages>(params, context);
  };
  return type;
}

}  // namespace reelfolio::stages
