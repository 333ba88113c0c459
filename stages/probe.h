#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "stages/byte_source.h"
#include "stages/item.h"

namespace reelfolio::stages {

/// Opens `path` once and reads it through: size, SHA-256, and what it is, by content:
///
///   pdf     "%PDF-" and a digit within the first 1024 bytes
///   image   PNG (an animated one too: its still), JPEG, WebP (of an animated one the
///           first picture), TIFF, BMP, GIF with one picture, PBM/PGM/PPM
///   video   GIF with several pictures; what libavformat finds a moving video stream in
///           (cover art, attached pictures and timed thumbnails are none)
///   audio   what libavformat finds only sound in
///   text    UTF-8 without control characters; UTF-16 with a byte order mark; up to 64 MiB what
///           else reads like text and nothing above knows (stages/text/encoding.h)
///
/// A container that is also text (a playlist, subtitles, SVG) is text: nothing that it
/// refers to is opened. Never blocks on fifos, devices or sockets.
///
/// name  as records will show it; bytes that are not UTF-8 become U+FFFD. `path` may
///       hold any bytes.
///
/// Any thread. Sets libav's log level, which is one for the process, to quiet.
/// Throws ItemError: input.unreadable, input.not_a_file, input.empty, input.changed
/// (the file grew, shrank or was rewritten while it was read), input.unsupported.
///
/// `stopped` (may be empty) is asked while the file is read; once it returns true, Cancelled
/// (stage.h) is thrown.
InputFile probe_input(const std::filesystem::path& path, const std::string& name,
                      const std::function<bool()>& stopped = {});

/// What a container holds: video, audio, or unknown. `source` is read from its start.
using ContainerProbe = std::function<MediaKind(ByteSource& source)>;
/// By libavformat, in this process.
MediaKind probe_container(ByteSource& source);

/// The same for a file that is open, with containers looked into by `containers`. All else that the
/// file is told by is read by code of this project.
InputFile probe_input(ByteSource& source, const std::filesystem::path& path, const std::string& name,
                      const std::function<bool()>& stopped, const ContainerProbe& containers);

}  // namespace reelfolio::stages
