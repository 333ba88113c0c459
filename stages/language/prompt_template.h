#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stages/item.h"

namespace reelfolio::stages {

/// A prompt with names in braces, compiled once when the graph is built.
///
///   {input.name} {input.stem} {input.path}   of every unit: "trip.mp4", "trip", the path as records show it
///   {scene.start} {scene.end} {scene.index}  of scenes; seconds, rounded to the millisecond
///   {frames.times} {frames.count}            of scenes with frames; "13.1, 14.9"
///   {clip.start} {clip.end} {clip.index}     of clips of sound; seconds, as of scenes
///   {page.number} {page.index} {page.text}   of PDF pages; the text is the page's own text layer
///   {text}                                   of texts and PDF pages: their text
///   {text.index} {text.first_line} {text.last_line} {text.start} {text.end}
///                                            of texts; lines of the file, seconds of subtitles
///   {image.index}                            of images; the frame in a multi-page file, from 0
///   {{ and }}                                a brace
///
/// A name whose value this unit has not (the page text of a scan, the page number of a
/// scene in a stage that takes pages and scenes) renders as nothing. A name that no unit
/// of the stage can ever have is refused when the template is compiled.
///
/// Values are inserted once and never looked at again: a brace in a file name or in a
/// page's text stays a brace. Immutable; any thread may render.
class PromptTemplate {
 public:
  struct Options {
    std::string param = "prompt";               ///< the stage parameter that errors are about
    std::span<const ItemType> receives{};       ///< what the stage is given; empty: not known, all names pass
    std::span<const std::string_view> extra{};  ///< further names, whose values `render` is given
  };

  /// Throws ParamError with line and column in the template, and the nearest valid name.
  static PromptTemplate compile(std::string_view text, const Options& options);

  using Extra = std::vector<std::pair<std::string_view, std::string_view>>;  ///< name, value
  std::string render(const Item& item, const Extra& extra = {}) const;

  /// True if the template names `name`.
  bool uses(std::string_view name) const;

 private:
  struct Segment {
    bool is_name = false;
    std::string text;  ///< literal text, or the name
  };
  std::vector<Segment> segments_;
};

/// `text` with its braces doubled: a template that renders as `text`.
std::string escape_template(std::string_view text);

}  // namespace reelfolio::stages
