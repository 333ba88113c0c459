#pragma once

#include <string>
#include <vector>

#include "engine/chat.h"
#include "stages/item.h"

namespace reelfolio::cli {

/// The user's turn of `ask`: what the files hold, in their order, then the question.
class AskPrompt {
 public:
  /// hears: the model has an audio tower.
  explicit AskPrompt(bool hears) : hears_(hears) {}

  /// Adds the items of one file: pictures, then sound; or the text. False: the sound of a video was left
  /// out, as the model does not hear.
  bool add(const std::vector<stages::Item>& items);

  /// The whole turn. Call once, last.
  engine::Message with_question(const std::string& question);

 private:
  void add_part(engine::Part part);

  bool hears_;
  engine::Message message_;
  std::string texts_;  ///< that follow the last picture or sound: between parts no space would be left
};

}  // namespace reelfolio::cli
