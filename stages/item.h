#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/audio_clip.h"
#include "engine/rgb_image.h"

/// What travels on an edge of the graph.
namespace reelfolio::stages {

/// What a file is by its content; the name decides nothing.
enum class MediaKind { video, pdf, image, audio, text, unknown };
std::string_view media_kind_name(MediaKind kind);

/// One input. Immutable once probed, shared by all its items.
struct InputFile {
  /// As records show it: the path as the user named it (folder walks append to the
  /// folder as named), bytes that are not UTF-8 replaced by U+FFFD.
  std::string name;
  std::filesystem::path path;
  std::uint64_t size_bytes = 0;
  std::string sha256;  ///< of the content, lower-case hex
  MediaKind media = MediaKind::unknown;
};

enum class UnitKind { scene, page, image, clip, text };
std::string_view unit_kind_name(UnitKind kind);

/// A word of a page's text layer and where it stands in the rendered picture: pixels from the
/// picture's left and top edge, right and bottom exclusive.
struct PageWord {
  std::string text;  ///< UTF-8, no white space
  int left_px = 0;
  int top_px = 0;
  int right_px = 0;
  int bottom_px = 0;
};

/// One part of an input that gets a line of its own. Immutable, shared.
struct Unit {
  std::string producer;  ///< name of the stage that cut it: with index, the unit's identity
  UnitKind kind = UnitKind::scene;
  int index = 0;  ///< from 0, in input order

  // scene, clip
  double start_s = 0;
  double end_s = 0;
  // page, image
  int number = 0;  ///< page number from 1 (page), or frame number in a multi-page image
  int width_px = 0;
  int height_px = 0;
  /// The page's own text layer, if it has one, in reading order; the content of a text unit.
  std::optional<std::string> text;
  std::vector<PageWord> words{};  ///< of a page with a text layer, in reading order
  // text: lines of the file, from 1, both included; 0: not known
  int first_line = 0;
  int last_line = 0;
  /// A text of subtitles: start_s and end_s hold.
  bool timed = false;
};

/// A picture that a language stage may show to the model.
struct Picture {
  std::shared_ptr<const engine::RgbImage> image;
  int soft_tokens = 280;
  std::optional<double> time_s;  ///< of a video frame, in the input's time
};

/// A piece of sound that a language stage may let the model hear.
struct SoundClip {
  std::shared_ptr<const engine::AudioClip> audio;  ///< engine::kLeastAudioSamples to kMostAudioSamples of it
  double start_s = 0;                              ///< of its first sample, in the input's time
  double end_s() const { return start_s + audio->duration_s(); }
};

/// What a stage found to hear in a unit.
struct Sound {
  std::vector<SoundClip> clips;  ///< ascending, none overlaps the next; empty: nothing to hear here
  bool no_track = false;         ///< the input has no sound at all
};

/// Plain data: what travels between processes too.
struct Item {
  std::shared_ptr<const InputFile> input;
  std::shared_ptr<const Unit> unit;  ///< null: the whole input
  std::vector<Picture> pictures;     ///< empty before a stage has attached some
  /// Absent before a stage has attached some. A scene's sound may come in several items, in order,
  /// each with the next part, so that long scenes need not be in memory as a whole.
  std::optional<Sound> sound{};

  /// Bytes of pixels and samples, for the scheduler's memory bound.
  std::size_t media_bytes() const;
  /// Bytes of the unit's text and words, for the same.
  std::size_t text_bytes() const;
};

/// The static type of what an edge carries; `Graph` checks stages against it.
enum class ItemType {
  video,
  pdf,
  image_file,
  sound,
  text_file,
  scene,
  frames,        ///< a scene with pictures
  heard_scene,   ///< a scene with sound
  heard_frames,  ///< a scene with pictures and sound
  page,
  image,
  clip,  ///< with sound
  text
};
std::string_view item_type_name(ItemType type);
/// What an item is, for the stages that may take it. Null unit: by the kind of the input
/// (none for unknown content); else by the kind of the unit, and for scenes by what they carry.
std::optional<ItemType> item_type(const Item& item);

}  // namespace reelfolio::stages
