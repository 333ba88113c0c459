#include "cli/ask_prompt.h"

#include <string>
#include <utility>

#include "stages/language/examples.h"

namespace reelfolio::cli {

bool AskPrompt::add(const std::vector<stages::Item>& items) {
  bool all = true;
  for (const stages::Item& item : items) {
    for (const stages::Picture& picture : item.pictures) {
      add_part(engine::ImagePart{picture.image, picture.soft_tokens});
    }
  }
  for (const stages::Item& item : items) {
    if (!item.sound) continue;
    for (const stages::SoundClip& clip : item.sound->clips) {
      // What is sound and nothing else is asked about all the same: the engine says why it cannot be.
      if (!hears_ && !item.pictures.empty()) {
        all = false;
      } else {
        add_part(engine::AudioPart{clip.audio});
      }
    }
  }
  std::string text;
  for (const stages::Item& item : items) {
    if (item.unit->kind != stages::UnitKind::text) continue;
    text += (text.empty() ? "" : "\n") + *item.unit->text;
  }
  if (!text.empty()) texts_ += stages::with_document(text, "");
  return all;
}

engine::Message AskPrompt::with_question(const std::string& question) {
  message_.parts.emplace_back(engine::TextPart{texts_ + question});
  return std::move(message_);
}

void AskPrompt::add_part(engine::Part part) {
  if (!texts_.empty()) message_.parts.emplace_back(engine::TextPart{std::exchange(texts_, {})});
  message_.parts.push_back(std::move(part));
}

}  // namespace reelfolio::cli
