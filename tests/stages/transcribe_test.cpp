#include "stages/language/transcribe.h"

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "stages/language/ask.h"
#include "stages/language/caption.h"
#include "tests/stages/language_fixture.h"
#include "tests/support/catch.h"

using namespace reelfolio;
using namespace reelfolio::stages;
using namespace reelfolio::stages::testing;

namespace {

/// `seconds` of a tone between `from_s` and `to_s`, else silence.
SoundClip clip(double start_s, double seconds, double from_s, double to_s, double amplitude = 0.3) {
  auto audio = std::make_shared<engine::AudioClip>();
  audio->samples.resize(static_cast<std::size_t>(seconds * 16000));
  for (std::size_t i = 0; i < audio->samples.size(); ++i) {
    const double at_s = static_cast<double>(i) / 16000;
    if (at_s >= from_s && at_s < to_s)
      audio->samples[i] = static_cast<float>(amplitude * std::sin(2000 * at_s));
  }
  SoundClip made;
  made.audio = std::move(audio);
  made.start_s = start_s;
  return made;
}

SoundClip silent(double start_s, double seconds) {
  return clip(start_s, seconds, 0, 0);
}

Item heard(std::vector<SoundClip> clips) {
  Item item = scene_item();
  item.pictures.clear();
  item.sound = Sound{std::move(clips), false};
  return item;
}

}  // namespace

TEST_CASE("transcribe: a clip is asked for its words and its language, the sound first") {
  const auto stage = make_stage(transcribe_type(), {});
  const Item item = heard({clip(12.5, 4, 1, 3)});
  const auto requests = stage->requests(item);
  REQUIRE(requests.size() == 2);
  for (const engine::Request& request : requests) {
    REQUIRE(request.messages.size() == 1);
    REQUIRE(request.messages[0].parts.size() == 2);
    CHECK(std::get<engine::AudioPart>(request.messages[0].parts[0]).clip == item.sound->clips[0].audio);
  }
  CHECK(
      prompt_of(requests[0]).find("Transcribe the following speech segment in its original language.\n\n") ==
      0);
  CHECK(prompt_of(requests[1]).find("Which language") == 0);
  CHECK(requests[0].max_tokens == 256);
  CHECK(requests[1].max_tokens == 8);

  const Json result = stage->result(item, std::vector{answer("Guten Tag."), answer("German.")});
  CHECK(
      result.dump() ==
      R"({"text":"Guten Tag.","language":"German","no_speech":false,"clips":[{"start_s":13.4,"end_s":15.6,)"
      R"("text":"Guten Tag.","language":"German","no_speech":false,"finish_reason":"stop"}],"finish_reason":"stop"})");
}

TEST_CASE("transcribe: a language that is given is named in the prompt and not asked for") {
  const auto stage = make_stage(transcribe_type(), {{"language", std::string("French")}});
  const Item item = heard({clip(0, 1, 0, 1)});
  const auto requests = stage->requests(item);
  REQUIRE(requests.size() == 1);
  CHECK(prompt_of(requests[0]).find("Transcribe the following speech segment in French into French text.") ==
        0);
  const Json result = stage->result(item, std::vector{answer("Bonjour.")});
  CHECK(result["language"] == "French");
  CHECK(result["no_speech"] == false);
  CHECK(stage->result(item, std::vector{answer("")})["no_speech"] == true);
}

TEST_CASE("transcribe: silence is not asked about") {
  const auto stage = make_stage(transcribe_type(), {});
  const Item item = heard({silent(0, 30), clip(30, 10, 0, 10, 0.0005)});
  CHECK(stage->requests(item).empty());
  const Json result = stage->result(item, {});
  CHECK(result["no_speech"] == true);
  CHECK(result["text"] == "");
  CHECK(result["language"].is_null());
  REQUIRE(result["clips"].size() == 2);
  CHECK(result["clips"][1]["end_s"] == 40);
  CHECK_FALSE(result.contains("no_audio"));
  // Quiet, and meant to be heard.
  const auto keen = make_stage(transcribe_type(), {{"silence_db", -90.0}});
  CHECK(keen->requests(item).size() == 2);
}

TEST_CASE("transcribe: no speech where the model names no language, its text is kept") {
  const auto stage = make_stage(transcribe_type(), {});
  const Item item = heard({clip(0, 2, 0, 2), clip(2, 2, 0, 2), clip(4, 2, 0, 2)});
  const Json result = stage->result(
      item, std::vector{answer("(music)"), answer("None."), answer("Hello."), answer(" English"),
                        answer("Hola, amigo"), answer("I think that this is Spanish")});
  CHECK(result["text"] == "Hello.");
  CHECK(result["language"] == "English");
  CHECK(result["clips"][0]["no_speech"] == true);
  CHECK(result["clips"][0]["text"] == "(music)");
  CHECK(result["clips"][0]["language"].is_null());
  CHECK(result["clips"][2]["no_speech"] == true);
}

TEST_CASE("transcribe: a video without sound says so") {
  const auto stage = make_stage(transcribe_type(), {});
  Item item = heard({});
  item.sound->no_track = true;
  CHECK(stage->requests(item).empty());
  const Json result = stage->result(item, {});
  CHECK(result.dump() ==
        R"({"text":"","language":null,"no_speech":true,"no_audio":true,"clips":[],"finish_reason":"stop"})");
}

TEST_CASE("transcribe: the items of one scene join to what one item would have given") {
  const auto stage = make_stage(transcribe_type(), {});
  const SoundClip a = clip(0, 2, 0, 2);
  const SoundClip b = clip(2, 2, 0, 2);
  const SoundClip c = silent(4, 2);
  const std::vector answers{answer("Eins."), answer("German"),
                            answer("Two, three.", engine::FinishReason::length), answer("English")};
  const Json whole = stage->result(heard({a, b, c}), answers);
  const std::span<const engine::Answer> all(answers);
  Json joined = stage->result(heard({a}), all.first(2));
  joined = stage->joined(std::move(joined), stage->result(heard({b}), all.subspan(2)));
  joined = stage->joined(std::move(joined), stage->result(heard({c}), {}));
  CHECK(joined == whole);
  CHECK(joined["text"] == "Eins. Two, three.");
  CHECK(joined["language"] == "English");
  CHECK(joined["finish_reason"] == "length");
}

TEST_CASE("caption and ask: pictures, then sound, then the text, in one prompt") {
  Item item = scene_item();
  item.sound = Sound{{clip(12.3, 2, 0, 2), clip(14.3, 1, 0, 1)}, false};
  for (const auto& stage : {make_stage(caption_type(), {}),
                            make_stage(ask_type(), {{"question", std::string("What happens?")}})}) {
    const auto parts = stage->requests(item)[0].messages[0].parts;
    REQUIRE(parts.size() == 5);
    CHECK(std::holds_alternative<engine::ImagePart>(parts[1]));
    CHECK(std::get<engine::AudioPart>(parts[2]).clip == item.sound->clips[0].audio);
    CHECK(std::get<engine::AudioPart>(parts[3]).clip == item.sound->clips[1].audio);
    CHECK(std::holds_alternative<engine::TextPart>(parts[4]));
  }
  // Without a sound track there is nothing to ask, and no error.
  Item mute = item;
  mute.pictures.clear();
  mute.sound = Sound{{}, true};
  const auto captioner = make_stage(caption_type(), {});
  CHECK(captioner->requests(mute).empty());
  CHECK(captioner->result(mute, {}).dump() == R"({"text":"","no_audio":true,"finish_reason":"stop"})");
  const auto asker = make_stage(ask_type(), {{"questions", TextMap{{"who", "Who speaks?"}}}});
  CHECK(asker->requests(mute).empty());
  CHECK(asker->result(mute, {})["who"]["no_audio"] == true);

  // Sound alone will do; nothing will not.
  item.pictures.clear();
  CHECK(make_stage(caption_type(), {})->requests(item)[0].messages[0].parts.size() == 3);
  item.sound = Sound{};
  CHECK_THROWS_AS(make_stage(caption_type(), {})->requests(item), ItemError);
}

TEST_CASE("caption: mode video shows frames as one video, timed from the scene's start") {
  Item item = scene_item();  // starts at 12.34549
  item.pictures[0].time_s = 12.345;
  item.sound = Sound{{clip(12.3, 2, 0, 2)}, false};
  const auto stage = make_stage(caption_type(), {{"mode", std::string("video")}});
  const auto parts = stage->requests(item)[0].messages[0].parts;
  REQUIRE(parts.size() == 3);
  const auto& video = std::get<engine::VideoPart>(parts[0]);
  REQUIRE(video.frames.size() == 2);
  CHECK(video.soft_tokens == 70);
  CHECK(video.frames[0].time_s == 0);
  CHECK(video.frames[1].time_s == Approx(14.9 - 12.34549));
  CHECK(video.frames[1].image == item.pictures[1].image);
  CHECK(std::holds_alternative<engine::AudioPart>(parts[1]));
  // Pages have no time: they stay pictures.
  CHECK(std::holds_alternative<engine::ImagePart>(stage->requests(page_item())[0].messages[0].parts[0]));
}
