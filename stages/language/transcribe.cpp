#include "stages/language/transcribe.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <map>
#include <utility>

#include "engine/audio_clip.h"
#include "stages/audio/clip_cutter.h"
#include "stages/decimal.h"
#include "stages/language/generation_params.h"

namespace reelfolio::stages {

namespace {

constexpr PromptDefaults kTranscribeDefaults = {
    .prompt =
        "Transcribe the following speech segment {in_language}.\n\n"
        "Follow these specific instructions for formatting the answer:\n"
        "* Only output the transcription, with no newlines.\n"
        "* When transcribing numbers, write the digits, i.e. write 1.7 and not one point seven, and write 3 "
        "instead of three.",
    .prompt_help =
        "template of the prompt, which follows the sound; {in_language}: \"in X into X text\" for the "
        "language X, or \"in its original language\"",
    .max_tokens = 256,
    .takes_stop = false,
};
constexpr std::array<std::string_view, 2> kExtraNames = {"in_language", "language"};

constexpr std::string_view kLanguageQuestion =
    "Which language is spoken in this recording? Answer with the English name of the language alone, or with "
    "the word none if nobody speaks.";
constexpr int kLanguageTokens = 8;
// Kept before and after what is not silent.
constexpr double kMarginS = 0.1;

/// The part of a clip that is not silent, in seconds from its start; empty range: all of it is.
std::pair<double, double> heard_part(const SoundClip& clip, double silence_db) {
  constexpr std::size_t kStep = engine::kAudioSampleRate / 20;  // what loudest_level_db measures
  const std::span<const float> samples(clip.audio->samples);
  std::size_t first = samples.size();
  std::size_t last = 0;
  for (std::size_t at = 0; at < samples.size(); at += kStep) {
    const std::size_t count = std::min(kStep, samples.size() - at);
    if (loudest_level_db(samples.subspan(at, count)) < silence_db) continue;
    first = std::min(first, at);
    last = at + count;
  }
  if (last == 0) return {0, 0};
  const double rate = engine::kAudioSampleRate;
  return {std::max(static_cast<double>(first) / rate - kMarginS, 0.0),
          std::min(static_cast<double>(last) / rate + kMarginS, clip.audio->duration_s())};
}

/// "German." -> "German"; null for "none", for a sentence, for nothing.
Json language_named(std::string_view answer) {
  constexpr std::string_view kAround = " \t\r\n.,:;!\"'*`()";
  const std::size_t begin = answer.find_first_not_of(kAround);
  if (begin == std::string_view::npos) return nullptr;
  std::string name(answer.substr(begin, answer.find_last_not_of(kAround) - begin + 1));
  std::string lower = name;
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  if (lower == "none" || std::count(name.begin(), name.end(), ' ') > 2 ||
      name.find('\n') != std::string::npos) {
    return nullptr;
  }
  return name;
}

/// Seconds as records write them: milliseconds, no ".0".
Json rounded(double seconds) {
  const double ms = std::round(seconds * 1000);
  return std::fmod(ms, 1000) == 0 ? Json(static_cast<std::int64_t>(ms) / 1000) : Json(ms / 1000);
}

class Transcribe final : public LanguageStage {
 public:
  Transcribe(const Params& params, const StageContext& context)
      : generation_(params, context, kTranscribeDefaults),
        prompt_(PromptTemplate::compile(
            generation_.prompt_text(),
            {.param = generation_.prompt_param(), .receives = context.receives, .extra = kExtraNames})),
        silence_db_(params.number("silence_db")) {
    if (params.has("language")) language_ = params.text("language");
    in_language_ =
        language_.empty() ? "in its original language" : "in " + language_ + " into " + language_ + " text";
  }

  std::vector<engine::Request> requests(const Item& item) const override {
    std::vector<engine::Request> requests;
    for (const SoundClip& clip : clips_of(item)) {
      if (is_silent(clip)) continue;
      const std::string place = milliseconds_text(clip.start_s);
      const std::string text =
          prompt_.render(item, {{kExtraNames[0], in_language_}, {kExtraNames[1], language_}});
      requests.push_back(generation_.request(item, {engine::AudioPart{clip.audio}}, text, place));
      if (!language_.empty()) continue;
      requests.push_back(generation_.request(item, {engine::AudioPart{clip.audio}},
                                             std::string(kLanguageQuestion), place + " language"));
      requests.back().thinking = false;
      requests.back().thinking_budget.reset();
      requests.back().max_tokens = kLanguageTokens;
      requests.back().sampling = {};
    }
    return requests;
  }

  Json result(const Item& item, std::span<const engine::Answer> answers) const override {
    Json clips = Json::array();
    std::size_t next = 0;
    for (const SoundClip& clip : clips_of(item)) clips.push_back(clip_result(clip, answers, next));
    assert(next == answers.size());
    return whole(std::move(clips), item.sound && item.sound->no_track);
  }

  Json joined(Json earlier, Json next) const override {
    Json clips = std::move(earlier["clips"]);
    for (Json& clip : next["clips"]) clips.push_back(std::move(clip));
    return whole(std::move(clips), false);
  }

 private:
  static std::span<const SoundClip> clips_of(const Item& item) {
    return item.sound ? std::span<const SoundClip>(item.sound->clips) : std::span<const SoundClip>();
  }

  bool is_silent(const SoundClip& clip) const { return loudest_level_db(clip.audio->samples) < silence_db_; }

  Json clip_result(const SoundClip& clip, std::span<const engine::Answer> answers, std::size_t& next) const {
    if (is_silent(clip)) {
      return {{"start_s", rounded(clip.start_s)},
              {"end_s", rounded(clip.end_s())},
              {"text", ""},
              {"language", nullptr},
              {"no_speech", true},
              {"finish_reason", "stop"}};
    }
    const auto [from_s, to_s] = heard_part(clip, silence_db_);
    const Json answer = generation_.answer_json(answers.subspan(next++, 1));
    const Json language = language_.empty() ? language_named(answers[next++].text) : Json(language_);
    const bool no_speech = language.is_null() || answer["text"].get_ref<const std::string&>().empty();
    Json json = {{"start_s", rounded(clip.start_s + from_s)},
                 {"end_s", rounded(clip.start_s + to_s)},
                 {"text", answer["text"]},
                 {"language", no_speech ? Json() : language},
                 {"no_speech", no_speech}};
    if (answer.contains("thinking")) json["thinking"] = answer["thinking"];
    json["finish_reason"] = answer["finish_reason"];
    return json;
  }

  static Json whole(Json clips, bool no_audio) {
    std::string text;
    std::map<std::string, std::size_t> said;  // bytes of text by language
    Json finish_reason = "stop";
    for (const Json& clip : clips) {
      if (finish_reason == "stop") finish_reason = clip["finish_reason"];
      if (clip["no_speech"].get<bool>()) continue;
      const auto& part = clip["text"].get_ref<const std::string&>();
      if (!text.empty()) text += ' ';
      text += part;
      said[clip["language"].get<std::string>()] += part.size();
    }
    const auto most = std::max_element(said.begin(), said.end(),
                                       [](const auto& a, const auto& b) { return a.second < b.second; });
    Json json = {{"text", text},
                 {"language", most == said.end() ? Json() : Json(most->first)},
                 {"no_speech", said.empty()}};
    if (no_audio) json["no_audio"] = true;
    json["clips"] = std::move(clips);
    json["finish_reason"] = finish_reason;
    return json;
  }

  Generation generation_;
  PromptTemplate prompt_;
  double silence_db_;
  std::string language_;
  std::string in_language_;
};

}  // namespace

StageType transcribe_type() {
  StageType type;
  type.name = "transcribe";
  type.help = "Writes down what is said, with the times of each clip.";
  type.accepts = {ItemType::heard_scene, ItemType::heard_frames, ItemType::clip};
  type.through = "split_audio";
  type.params = generation_params(kTranscribeDefaults);
  // Pictures are not shown, and examples would have to be heard.
  std::erase_if(type.params,
                [](const ParamSpec& spec) { return spec.name == "soft_tokens" || spec.name == "examples"; });
  type.params.insert(
      type.params.begin(),
      {{.name = "language",
        .type = ParamType::text,
        .help = "the language spoken, in English (\"German\"); left out: the model is asked which it is"},
       {.name = "silence_db",
        .type = ParamType::number,
        .help = "clips of which no 50 ms are this loud, in dB of full scale, hold no speech",
        .default_value = -60.0,
        .min = -120,
        .max = 0}});
  type.make_language = [](const Params& params,
                          const StageContext& context) -> std::unique_ptr<LanguageStage> {
    return std::make_unique<Transcribe>(params, context);
  };
  return type;
}

}  // namespace reelfolio::stages
