#include "stages/language/generation_params.h"

#include <openssl/sha.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>

#include "engine/utf8.h"
#include "stages/language/confidence.h"
#include "stages/language/voting.h"
#include "stages/soft_token_budget.h"
#include "stages/system_message.h"

namespace reelfolio::stages {

namespace {

constexpr std::streamsize kMaxPromptFileBytes = 1 << 20;

/// First eight bytes of SHA-256, least significant first, so that a seed can be
/// recomputed with `printf '...' | sha256sum`.
std::uint64_t derive_seed(std::uint64_t stage_seed, const Item& item, std::string_view name) {
  std::string text = std::to_string(stage_seed) + "\n" + item.input->sha256 + "\n";
  if (item.unit) text += item.unit->producer + "\n" + std::to_string(item.unit->index);
  text += "\n" + std::string(name);
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  std::uint64_t seed = 0;
  for (std::size_t i = 0; i < 8; ++i) seed |= static_cast<std::uint64_t>(digest[i]) << (8 * i);
  return seed;
}

int own_soft_tokens(const Item& item) {
  constexpr int kWithoutPictures = 280;
  return item.pictures.empty() ? kWithoutPictures : item.pictures.front().soft_tokens;
}

}  // namespace

std::vector<ParamSpec> generation_params(const PromptDefaults& defaults) {
  std::vector<ParamSpec> rows = {
      {.name = "prompt",
       .type = ParamType::text,
       .help = std::string(defaults.prompt_help),
       .default_value = std::string(defaults.prompt)},
      {.name = "prompt_file",
       .type = ParamType::path,
       .help = "file with the prompt template, instead of prompt"},
      {.name = "system", .type = ParamType::text, .help = "system prompt, as it stands (no template)"},
      {.name = "system_file",
       .type = ParamType::path,
       .help = "file with the system prompt, instead of system"},
      {.name = "examples",
       .type = ParamType::path,
       .help = "JSON file of solved examples, with pictures, that the prompt shows first"},
  };
  if (defaults.reads_documents) {
    rows.push_back({.name = "page",
                    .type = ParamType::choice,
                    .help = "what the model gets of a PDF page: its picture, its text where the page has a "
                            "good text layer (else the picture), or both",
                    .default_value = std::string("image"),
                    .choices = {"text", "image", "both"}});
  }
  const std::vector<ParamSpec> shared = {
      {.name = "max_tokens",
       .type = ParamType::integer,
       .help = "longest answer, in tokens, thinking included",
       .default_value = defaults.max_tokens,
       .min = 1,
       .max = 131072},
      {.name = "thinking",
       .type = ParamType::boolean,
       .help = "let the model think first; its thoughts are kept beside the text",
       .default_value = false},
      {.name = "thinking_tokens",
       .type = ParamType::integer,
       .help = "with thinking: longest thoughts, in tokens; without: what max_tokens leaves",
       .min = 1,
       .max = 131072},
      {.name = "keep_thinking",
       .type = ParamType::boolean,
       .help = "with thinking: write the thoughts too, as \"thinking\"",
       .default_value = true},
      {.name = "soft_tokens",
       .type = ParamType::integer,
       .help = "soft tokens for each picture (70, 140, 280, 560 or 1120) instead of what its stage chose",
       .min = 70,
       .max = 1120},
      {.name = "temperature",
       .type = ParamType::number,
       .help = "0: always the likeliest token; the model's makers suggest 1.0",
       .default_value = 0.0,
       .min = 0,
       .max = 10},
      {.name = "top_k",
       .type = ParamType::integer,
       .help = "with a temperature: draw from this many tokens; 0: no limit",
       .default_value = std::int64_t{64},
       .min = 0,
       .max = 262144},
      {.name = "top_p",
       .type = ParamType::number,
       .help = "with a temperature: draw from the likeliest tokens of this total probability",
       .default_value = 0.95,
       .min = 0,
       .max = 1},
      {.name = "min_p",
       .type = ParamType::number,
       .help = "with a temperature: leave out tokens below this share of the likeliest one's probability",
       .default_value = 0.0,
       .min = 0,
       .max = 1},
      {.name = "repetition_penalty",
       .type = ParamType::number,
       .help = "above 1: make tokens that the answer already holds less likely; 1: off",
       .default_value = 1.0,
       .min = 1,
       .max = 10},
      {.name = "seed",
       .type = ParamType::integer,
       .help = "with a temperature: a unit's seed is made of this number, its input's sha256 and its place",
       .default_value = std::int64_t{0},
       .min = 0},
  };
  rows.insert(rows.end(), shared.begin(), shared.end());
  if (defaults.takes_votes) {
    rows.push_back({.name = "samples",
                    .type = ParamType::integer,
                    .help = "with a temperature: answers drawn, of which the most frequent is taken",
                    .default_value = std::int64_t{1},
                    .min = 1,
                    .max = 64});
    rows.push_back({.name = "confidence",
                    .type = ParamType::boolean,
                    .help = "tell how sure the model was, from its tokens' probabilities",
                    .default_value = false});
  }
  if (defaults.takes_stop) {
    rows.push_back({.name = "stop",
                    .type = ParamType::text_list,
                    .help = "texts in front of which the answer ends",
                    .default_value = std::vector<std::string>{}});
  }
  return rows;
}

bool is_good_text_layer(std::string_view text) {
  constexpr std::size_t kMinCharacters = 20;
  std::size_t shown = 0;
  std::size_t letters = 0;
  std::size_t meaningless = 0;
  while (!text.empty()) {
    const engine::Utf8Step step = engine::read_utf8(text);
    text.remove_prefix(step.bytes);
    const char32_t c = step.code_point;
    if (c == ' ' || (c >= 0x09 && c <= 0x0D) || c == 0xA0) continue;
    ++shown;
    const bool private_use = c >= 0xE000 && c <= 0xF8FF;
    meaningless += step.kind != engine::Utf8Step::Kind::valid || c == 0xFFFD || private_use;
    letters += (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
               (c >= 0xC0 && c != 0xFFFD && !private_use);
  }
  return shown >= kMinCharacters && meaningless * 50 <= shown && letters * 2 >= shown;
}

ParamSpec mode_param() {
  ParamSpec spec;
  spec.name = "mode";
  spec.type = ParamType::choice;
  spec.help =
      "how a scene's frames are shown: frames, as pictures; video, as the model's release shows videos, each "
      "with "
      "its time in the scene before it";
  spec.default_value = std::string("frames");
  spec.choices = {"frames", "video"};
  return spec;
}

std::string read_text_param(const Params& params, const StageContext& context, const std::string& param) {
  const std::filesystem::path written = params.text(param);
  const std::filesystem::path path = written.is_absolute() ? written : context.graph_folder / written;
  const auto refuse = [&](const std::string& why) { throw ParamError(param, path.string() + ": " + why); };
  if (std::error_code ignored; std::filesystem::is_directory(path, ignored)) refuse("is a folder");
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) refuse(errno != 0 ? system_message(errno) : "cannot be opened");
  std::string text(static_cast<std::size_t>(kMaxPromptFileBytes) + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) refuse("cannot be read");
  if (file.gcount() > kMaxPromptFileBytes) refuse("is larger than 1 MiB");
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (!engine::is_valid_utf8(text)) refuse("is not UTF-8 text");
  return text;
}

Generation::Generation(const Params& params, const StageContext& context, const PromptDefaults& defaults)
    : max_tokens_(static_cast<int>(params.integer("max_tokens"))),
      thinking_(params.boolean("thinking")),
      keep_thinking_(params.boolean("keep_thinking")),
      as_video_(params.has("mode") && params.text("mode") == "video") {
  prompt_text_ = params.text("prompt");
  prompt_param_ = "prompt";
  if (params.has("prompt_file")) {
    if (prompt_text_ != defaults.prompt) {
      throw ParamError("prompt_file", "prompt and prompt_file are both given; keep one of them");
    }
    prompt_text_ = read_text_param(params, context, "prompt_file");
    prompt_param_ = "prompt_file";
  }
  if (params.has("system")) system_ = params.text("system");
  if (params.has("system_file")) {
    if (params.has("system")) {
      throw ParamError("system_file", "system and system_file are both given; keep one of them");
    }
    system_ = read_text_param(params, context, "system_file");
  }
  if (params.has("examples")) examples_ = Examples(params, context, "examples");
  if (defaults.reads_documents) page_ = params.text("page");
  if (params.has("thinking_tokens")) {
    thinking_tokens_ = static_cast<int>(params.integer("thinking_tokens"));
    if (!thinking_) throw ParamError("thinking_tokens", "needs thinking: true");
    if (*thinking_tokens_ >= max_tokens_) {
      throw ParamError("thinking_tokens", "is " + std::to_string(*thinking_tokens_) +
                                              ", which leaves nothing for the answer of max_tokens " +
                                              std::to_string(max_tokens_));
    }
  }
  if (params.has("soft_tokens")) soft_tokens_ = soft_tokens_of(params);
  sampling_.temperature = static_cast<float>(params.number("temperature"));
  sampling_.top_k = static_cast<int>(params.integer("top_k"));
  sampling_.top_p = static_cast<float>(params.number("top_p"));
  sampling_.min_p = static_cast<float>(params.number("min_p"));
  sampling_.repetition_penalty = static_cast<float>(params.number("repetition_penalty"));
  sampling_.seed = static_cast<std::uint64_t>(params.integer("seed"));
  if (defaults.takes_votes) {
    samples_ = static_cast<int>(params.integer("samples"));
    confidence_ = params.boolean("confidence");
    if (samples_ > 1 && sampling_.temperature <= 0) {
      throw ParamError("samples", "needs a temperature above 0: without one all samples are the same");
    }
  }
  if (defaults.takes_stop) {
    stop_ = params.text_list("stop");
    for (const std::string& text : stop_) {
      if (text.empty()) throw ParamError("stop", "a text is empty");
    }
  }
}

bool Generation::is_mute(const Item& item) {
  return item.pictures.empty() && item.sound && item.sound->no_track;
}

Json Generation::mute_answer() {
  return {{"text", ""}, {"no_audio", true}, {"finish_reason", "stop"}};
}

std::vector<engine::Part> Generation::seen_and_heard(const Item& item, bool shows_pictures) const {
  std::vector<engine::Part> parts;
  engine::VideoPart video;
  for (const Picture& picture : item.pictures) {
    if (!shows_pictures) break;
    const int soft_tokens = soft_tokens_.value_or(picture.soft_tokens);
    if (as_video_ && picture.time_s && item.unit) {
      // A frame that stands for the start of its scene may have begun before it.
      video.frames.push_back({picture.image, std::max(*picture.time_s - item.unit->start_s, 0.0)});
      video.soft_tokens = soft_tokens;
    } else {
      parts.emplace_back(engine::ImagePart{picture.image, soft_tokens});
    }
  }
  if (!video.frames.empty()) parts.emplace_back(std::move(video));
  if (item.sound) {
    for (const SoundClip& clip : item.sound->clips) parts.emplace_back(engine::AudioPart{clip.audio});
  }
  return parts;
}

std::vector<engine::Request> Generation::requests(const Item& item, const std::string& prompt,
                                                  std::string_view name, bool shows_text) const {
  const std::string* text = item.unit && item.unit->text ? &*item.unit->text : nullptr;
  const bool is_text = item.unit && item.unit->kind == UnitKind::text;
  const bool has_good_text = text != nullptr && (is_text || is_good_text_layer(*text));
  const bool show_text = has_good_text && (is_text || page_ != "image");
  std::vector<engine::Part> parts = seen_and_heard(item, !(page_ == "text" && has_good_text));
  if (parts.empty() && !show_text) {
    throw ItemError("language.no_pictures", "there is nothing to see, hear or read");
  }
  const std::string asked = show_text && !shows_text ? with_document(*text, prompt) : prompt;
  std::vector<engine::Request> requests;
  for (int sample = 0; sample < samples_; ++sample) {
    const std::string own =
        sample == 0 ? std::string(name) : std::string(name) + "\n" + std::to_string(sample);
    requests.push_back(request(item, parts, asked, own));
    // Examples are asked as the unit is, but for its text.
    auto& messages = requests.back().messages;
    std::vector<engine::Message> examples;
    examples_.append(examples, prompt, name, soft_tokens_.value_or(own_soft_tokens(item)));
    messages.insert(messages.end() - 1, std::make_move_iterator(examples.begin()),
                    std::make_move_iterator(examples.end()));
  }
  return requests;
}

engine::Request Generation::request(const Item& item, std::vector<engine::Part> parts, std::string text,
                                    std::string_view name) const {
  engine::Request request;
  if (!system_.empty()) request.messages.push_back({engine::Role::system, {engine::TextPart{system_}}});
  parts.emplace_back(engine::TextPart{std::move(text)});
  request.messages.push_back({engine::Role::user, std::move(parts)});
  request.thinking = thinking_;
  request.thinking_budget = thinking_tokens_;
  request.max_tokens = max_tokens_;
  request.sampling = sampling_;
  request.stop = stop_;
  request.log_probabilities = confidence_;
  if (sampling_.temperature > 0) request.sampling.seed = derive_seed(sampling_.seed, item, name);
  return request;
}

void Generation::add_thinking(Json& json, const engine::Answer& answer) const {
  if (thinking_ && keep_thinking_) json["thinking"] = answer.thinking.value_or("");
}

Json Generation::answer_json(std::span<const engine::Answer> samples) const {
  std::vector<std::string> texts;
  for (const engine::Answer& sample : samples) texts.push_back(sample.text);
  const std::vector<Ballot> ballots = count_votes(texts);
  const engine::Answer& answer = samples[ballots.front().first];
  Json json = {{"text", answer.text}};
  if (samples.size() > 1) {
    Json votes = Json::array();
    for (const Ballot& ballot : ballots) {
      votes.push_back(Json{{"text", texts[ballot.first]}, {"count", ballot.count}});
    }
    json["votes"] = std::move(votes);
  }
  if (confidence_) json["confidence"] = confidence_of(answer.tokens, 0, answer.text.size());
  add_thinking(json, answer);
  json["finish_reason"] = engine::finish_reason_name(answer.finish_reason);
  return json;
}

}  // namespace reelfolio::stages
