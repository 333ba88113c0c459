#include "stages/item.h"

namespace reelfolio::stages {

std::string_view media_kind_name(MediaKind kind) {
  switch (kind) {
    case MediaKind::video:
      return "video";
    case MediaKind::pdf:
      return "pdf";
    case MediaKind::image:
      return "image";
    case MediaKind::audio:
      return "audio";
    case MediaKind::text:
      return "text";
    case MediaKind::unknown:
      break;
  }
  return "unknown";
}

std::string_view unit_kind_name(UnitKind kind) {
  switch (kind) {
    case UnitKind::scene:
      return "scene";
    case UnitKind::page:
      return "page";
    case UnitKind::image:
      return "image";
    case UnitKind::text:
      return "text";
    case UnitKind::clip:
      break;
  }
  return "clip";
}

std::string_view item_type_name(ItemType type) {
  switch (type) {
    case ItemType::video:
      return "videos";
    case ItemType::pdf:
      return "PDFs";
    case ItemType::image_file:
      return "image files";
    case ItemType::sound:
      return "sound files";
    case ItemType::text_file:
      return "text files";
    case ItemType::scene:
      return "scenes";
    case ItemType::frames:
      return "scenes with frames";
    case ItemType::heard_scene:
      return "scenes with sound";
    case ItemType::heard_frames:
      return "scenes with frames and sound";
    case ItemType::page:
      return "pages";
    case ItemType::image:
      return "images";
    case ItemType::text:
      return "texts";
    case ItemType::clip:
      break;
  }
  return "clips";
}

std::optional<ItemType> item_type(const Item& item) {
  if (item.unit) {
    switch (item.unit->kind) {
      case UnitKind::scene:
        if (item.sound) return item.pictures.empty() ? ItemType::heard_scene : ItemType::heard_frames;
        return item.pictures.empty() ? ItemType::scene : ItemType::frames;
      case UnitKind::page:
        return ItemType::page;
      case UnitKind::image:
        return ItemType::image;
      case UnitKind::text:
        return ItemType::text;
      case UnitKind::clip:
        break;
    }
    return ItemType::clip;
  }
  switch (item.input->media) {
    case MediaKind::video:
      return ItemType::video;
    case MediaKind::pdf:
      return ItemType::pdf;
    case MediaKind::image:
      return ItemType::image_file;
    case MediaKind::audio:
      return ItemType::sound;
    case MediaKind::text:
      return ItemType::text_file;
    case MediaKind::unknown:
      break;
  }
  return std::nullopt;
}

std::size_t Item::media_bytes() const {
  std::size_t bytes = 0;
  for (const Picture& picture : pictures) {
    if (picture.image) bytes += picture.image->pixels.size();
  }
  if (sound) {
    for (const SoundClip& clip : sound->clips) bytes += clip.audio->samples.size() * sizeof(float);
  }
  return bytes;
}

std::size_t Item::text_bytes() const {
  if (!unit) return 0;
  std::size_t bytes = unit->text ? unit->text->size() : 0;
  for (const PageWord& word : unit->words) bytes += sizeof(PageWord) + word.text.size();
  return bytes;
}

}  // namespace reelfolio::stages
