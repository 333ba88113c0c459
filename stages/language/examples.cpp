#include "stages/language/examples.h"

#include <openssl/sha.h>

#include <algorithm>
#include <array>
#include <utility>

#include "stages/image/picture_reader.h"
#include "stages/language/generation_params.h"
#include "stages/nearest_name.h"

namespace reelfolio::stages {

namespace {

constexpr std::uint64_t kMaxExamplePixels = 150'000'000;
constexpr std::array<std::string_view, 5> kKeys = {"images", "text", "prompt", "answer", "answers"};

std::string hex(const std::array<unsigned char, SHA256_DIGEST_LENGTH>& digest) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const unsigned char byte : digest) {
    text += kDigits[byte >> 4U];
    text += kDigits[byte & 15U];
  }
  return text;
}

std::string hash_of(std::string_view bytes) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest.data());
  return hex(digest);
}

}  // namespace

std::string with_document(std::string_view document, std::string_view prompt) {
  return "Text of the document:\n\n" + std::string(document) + "\n\n" + std::string(prompt);
}

Examples::Examples(const Params& params, const StageContext& context, const std::string& param) {
  const std::filesystem::path written = params.text(param);
  const std::filesystem::path path = written.is_absolute() ? written : context.graph_folder / written;
  const Json file = Json::parse(read_text_param(params, context, param), nullptr, /*allow_exceptions=*/false);
  std::string place = path.string();
  const auto refuse = [&](const std::string& why) { throw ParamError(param, place + ": " + why); };
  if (!file.is_array()) refuse("is no JSON list of examples");
  std::string hashes;
  for (std::size_t i = 0; i < file.size(); ++i) {
    place = path.string() + ", example " + std::to_string(i + 1);
    const Json& json = file[i];
    if (!json.is_object()) refuse("is no object");
    for (const auto& [key, value] : json.items()) {
      if (std::ranges::find(kKeys, std::string_view(key)) == kKeys.end()) {
        refuse("unknown key '" + key + "'" + did_you_mean(key, kKeys));
      }
    }
    const auto text_at = [&](const char* key) {
      if (!json[key].is_string())
        refuse(std::string("'") + key + "' is " + json[key].type_name() + ", expected a text");
      return json[key].get<std::string>();
    };
    Example example;
    if (json.contains("text")) example.text = text_at("text");
    if (json.contains("prompt")) example.prompt = text_at("prompt");
    if (json.contains("answer") == json.contains("answers")) refuse("expected either 'answer' or 'answers'");
    if (json.contains("answer")) {
      const Json& answer = json["answer"];
      example.answer = answer.is_string() ? answer.get<std::string>() : answer.dump();
    } else {
      if (!json["answers"].is_object()) refuse("'answers' is no object of texts");
      for (const auto& [name, answer] : json["answers"].items()) {
        example.answers.emplace_back(name, answer.is_string() ? answer.get<std::string>() : answer.dump());
      }
    }
    if (json.contains("images")) {
      if (!json["images"].is_array()) refuse("'images' is no list of paths");
      for (const Json& name : json["images"]) {
        if (!name.is_string()) refuse("'images' is no list of paths");
        const std::filesystem::path image_path = path.parent_path() / name.get<std::string>();
        auto image = std::make_shared<engine::RgbImage>();
        try {
          *image = open_picture(image_path, kMaxExamplePixels)->read(0);
        } catch (const ItemError& error) {
          refuse(image_path.string() + ": " + error.what());
        }
        const std::string_view pixels(reinterpret_cast<const char*>(image->pixels.data()),
                                      image->pixels.size());
        hashes += std::to_string(image->width) + " " + hash_of(pixels) + "\n";
        example.images.push_back(std::move(image));
      }
    }
    examples_.push_back(std::move(example));
  }
  if (!hashes.empty()) picture_hash_ = hash_of(hashes);
}

void Examples::append(std::vector<engine::Message>& messages, const std::string& prompt,
                      std::string_view name, int soft_tokens) const {
  for (const Example& example : examples_) {
    const auto named =
        std::ranges::find_if(example.answers, [&](const auto& each) { return each.first == name; });
    if (!example.answer && named == example.answers.end()) continue;
    engine::Message user;
    for (const auto& image : example.images) user.parts.emplace_back(engine::ImagePart{image, soft_tokens});
    const std::string asked = example.prompt.value_or(prompt);
    user.parts.emplace_back(
        engine::TextPart{example.text.empty() ? asked : with_document(example.text, asked)});
    messages.push_back(std::move(user));
    messages.push_back(
        {engine::Role::model, {engine::TextPart{example.answer ? *example.answer : named->second}}});
  }
}

}  // namespace reelfolio::stages
