#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "stages/decoder/decode.h"

namespace reelfolio::cli {

/// The sound of longer videos is left out by `ask`: the pictures tell of the whole, it would not.
constexpr double kHeardVideoS = 60;

/// What `ask` shows of a file, as one stage, so that it runs where other decoding runs: the pages of a
/// PDF, the pictures of an image file, frames from all over a video and its sound, a sound or a text in
/// parts; by the stages that a graph would use, with their defaults.
///
/// soft_tokens    a picture; absent: each stage's default
/// password_file  of encrypted PDFs; may be empty
std::unique_ptr<stages::Transform> make_ask_media(std::optional<int> soft_tokens,
                                                  const std::filesystem::path& password_file);

/// The plan of that stage alone. Borrows it.
stages::DecodePlan ask_media_plan(const stages::Transform& media);

}  // namespace reelfolio::cli
