#include "stages/language/generation_params.h"

#include <openssl/sha.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <fstream>
#include <system_error>
#include <utility>

#include "engine/utf8.h"
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

}  // namespace

std::vector<ParamSpec> generation_params(const PromptDefaults& defaults) {
  return {
      {.name = "prompt",
       .type = ParamType::text,
       .help = std::string(defaults.prompt_help),
       .default_value = std::string(defaults.prompt)},
      {.name = "prompt_file",
       .type = ParamType::path,
       .help = "file with the prompt template, instead of prompt"},
      {.name = "system", .type = ParamType::text, .help = "system prompt, as it stands (no template)"},
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
      {.name = "seed",
       .type = ParamType::integer,
       .help = "with a temperature: a unit's seed is made of this number, its input's sha256 and its place",
       .default_value = std::int64_t{0},
       .min = 0},
  };
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
    : max_tokens_(static_cast<int>(params.integer("max_tokens"))), thinking_(params.boolean("thinking")) {
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
  if (params.has("soft_tokens")) soft_tokens_ = soft_tokens_of(params);
  sampling_.temperature = static_cast<float>(params.number("temperature"));
  sampling_.top_k = static_cast<int>(params.integer("top_k"));
  sampling_.top_p = static_cast<float>(params.number("top_p"));
  sampling_.seed = static_cast<std::uint64_t>(params.integer("seed"));
}

engine::Request Generation::request(const Item& item, std::string text, std::string_view name) const {
  if (item.pictures.empty()) {
    throw ItemError("language.no_pictures", "there is no picture to ask about");
  }
  engine::Request request;
  if (!system_.empty()) request.messages.push_back({engine::Role::system, {engine::TextPart{system_}}});
  engine::Message user;
  for (const Picture& picture : item.pictures) {
    user.parts.emplace_back(engine::ImagePart{picture.image, soft_tokens_.value_or(picture.soft_tokens)});
  }
  user.parts.emplace_back(engine::TextPart{std::move(text)});
  request.messages.push_back(std::move(user));
  request.thinking = thinking_;
  request.max_tokens = max_tokens_;
  request.sampling = sampling_;
  if (sampling_.temperature > 0) request.sampling.seed = derive_seed(sampling_.seed, item, name);
  return request;
}

Json Generation::answer_json(const engine::Answer& answer) const {
  Json json = {{"text", answer.text}};
  if (thinking_) json["thinking"] = answer.thinking.value_or("");
  json["finish_reason"] = engine::finish_reason_name(answer.finish_reason);
  return json;
}

}  // namespace reelfolio::stages
