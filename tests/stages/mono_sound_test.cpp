#include "stages/audio/mono_sound.h"

#include <cmath>
#include <limits>
#include <numbers>
#include <string>
#include <vector>

#include "stages/error.h"
#include "tests/support/catch.h"

extern "C" {
#include <libavutil/channel_layout.h>
}

using namespace reelfolio::stages;

namespace {

libav::FramePtr sound_frame(AVSampleFormat format, int channels, int samples) {
  libav::FramePtr frame = libav::make_frame();
  frame->format = format;
  frame->sample_rate = 48000;
  frame->nb_samples = samples;
  av_channel_layout_default(&frame->ch_layout, channels);
  REQUIRE(av_frame_get_buffer(frame.get(), 0) >= 0);
  return frame;
}

template <class T>
T* plane(const libav::FramePtr& frame, int channel) {
  return reinterpret_cast<T*>(frame->extended_data[channel]);
}

/// A tone of full scale through the resampler, in pieces, without the first and last 0.1 s.
std::vector<float> resampled_tone(int rate, double hz, double amplitude = 0.9) {
  Resampler resampler;
  resampler.begin(rate);
  std::vector<float> out;
  for (int first = 0; first < rate; first += 1000) {
    std::vector<float> piece;
    for (int i = first; i < std::min(first + 1000, rate); ++i) {
      piece.push_back(static_cast<float>(amplitude * std::sin(2 * std::numbers::pi * hz * i / rate)));
    }
    resampler.add(piece, out);
  }
  resampler.finish(out);
  REQUIRE(out.size() == 16000);
  return {out.begin() + 1600, out.end() - 1600};
}

double level_db(const std::vector<float>& samples) {
  double sum = 0;
  for (const float sample : samples) sum += static_cast<double>(sample) * sample;
  return 10 * std::log10(2 * sum / static_cast<double>(samples.size()));
}

}  // namespace

TEST_CASE("mono sound: stereo is the mean, in any sample format") {
  std::vector<float> mono;
  const libav::FramePtr s16 = sound_frame(AV_SAMPLE_FMT_S16, 2, 2);
  const std::int16_t stereo[] = {16384, -8192, -32768, -32768};
  std::copy(std::begin(stereo), std::end(stereo), plane<std::int16_t>(s16, 0));
  CHECK(mix_to_mono(*s16, 0, mono) == 0);
  CHECK(mono == std::vector<float>{0.125F, -1.0F});

  const libav::FramePtr u8 = sound_frame(AV_SAMPLE_FMT_U8P, 2, 1);
  *plane<std::uint8_t>(u8, 0) = 192;
  *plane<std::uint8_t>(u8, 1) = 128;
  mono.clear();
  mix_to_mono(*u8, 0, mono);
  CHECK(mono == std::vector<float>{0.25F});

  const libav::FramePtr s32 = sound_frame(AV_SAMPLE_FMT_S32, 1, 1);
  *plane<std::int32_t>(s32, 0) = 1 << 30;
  mono.clear();
  mix_to_mono(*s32, 0, mono);
  CHECK(mono == std::vector<float>{0.5F});
}

TEST_CASE("mono sound: of surround sound the centre is heard most and the low frequency effects not at all") {
  const libav::FramePtr frame = sound_frame(AV_SAMPLE_FMT_FLTP, 8, 1);  // FL FR FC LFE BL BR SL SR
  std::vector<float> alone;
  for (int loud = 0; loud < 8; ++loud) {
    for (int channel = 0; channel < 8; ++channel)
      *plane<float>(frame, channel) = channel == loud ? 1.0F : 0.0F;
    mix_to_mono(*frame, 0, alone);
  }
  CHECK(alone[0] == alone[1]);
  CHECK(alone[2] == Approx(std::sqrt(2.0F) * alone[0]));
  CHECK(alone[3] == 0.0F);
  CHECK(alone[4] == Approx(alone[0] / 2));
  float sum = 0;
  for (const float weight : alone) sum += weight;
  CHECK(sum == Approx(1.0F));
}

TEST_CASE("mono sound: channels without a place are averaged") {
  const libav::FramePtr frame = sound_frame(AV_SAMPLE_FMT_FLTP, 3, 1);
  av_channel_layout_uninit(&frame->ch_layout);
  frame->ch_layout.order = AV_CHANNEL_ORDER_UNSPEC;
  frame->ch_layout.nb_channels = 3;
  for (int channel = 0; channel < 3; ++channel) *plane<float>(frame, channel) = channel == 2 ? 0.75F : 0.0F;
  std::vector<float> mono;
  mix_to_mono(*frame, 0, mono);
  CHECK(mono[0] == Approx(0.25F));
}

TEST_CASE("mono sound: what is not a number counts as silence and is counted") {
  const libav::FramePtr frame = sound_frame(AV_SAMPLE_FMT_FLT, 1, 4);
  float* samples = plane<float>(frame, 0);
  samples[0] = std::numeric_limits<float>::quiet_NaN();
  samples[1] = -std::numeric_limits<float>::infinity();
  samples[2] = 1e30F;
  samples[3] = 0.5F;
  std::vector<float> mono;
  CHECK(mix_to_mono(*frame, 0, mono) == 2);
  CHECK(mono == std::vector<float>{0.0F, 0.0F, 8.0F, 0.5F});
  mono.clear();
  CHECK(mix_to_mono(*frame, 3, mono) == 0);
  CHECK(mono == std::vector<float>{0.5F});
}

TEST_CASE("resampler: what 16 kHz can hold passes, what would alias does not") {
  for (const int rate : {8000, 11025, 22050, 32000, 44100, 48000, 96000, 192000}) {
    CAPTURE(rate);
    for (const double hz : {100.0, 1000.0, 3600.0}) {
      if (hz > 0.45 * rate) continue;
      CHECK(std::abs(level_db(resampled_tone(rate, hz, 1.0)) - 0.0) < 0.1);
    }
    if (rate < 20000) continue;
    CHECK(std::abs(level_db(resampled_tone(rate, 7100)) - level_db(resampled_tone(16000, 7100))) < 0.1);
    CHECK(level_db(resampled_tone(rate, 8600)) < -80);
    if (rate > 40000) CHECK(level_db(resampled_tone(rate, 15000)) < -80);
  }
}

TEST_CASE("resampler: sample n is the sound at n / 16000 s") {
  for (const int rate : {8000, 44100, 48000, 192000}) {
    CAPTURE(rate);
    Resampler resampler;
    for (int stretch = 0; stretch < 2; ++stretch) {  // the second begins as afresh as the first
      resampler.begin(rate);
      std::vector<float> in(static_cast<std::size_t>(rate), 0.0F);
      in[static_cast<std::size_t>(rate / 4)] = 0.9F;  // at 0.25 s
      std::vector<float> out;
      resampler.add(in, out);
      resampler.finish(out);
      REQUIRE(out.size() == 16000);
      CHECK(std::max_element(out.begin(), out.end()) - out.begin() == 4000);
    }
  }
}

TEST_CASE("resampler: loud sound stays within full scale, absurd rates are refused") {
  Resampler resampler;
  resampler.begin(48000);
  std::vector<float> out;
  resampler.add(std::vector<float>(4800, 8.0F), out);
  resampler.finish(out);
  for (const float sample : out) REQUIRE(std::abs(sample) <= 1);
  CHECK_THROWS_AS(resampler.begin(1), ItemError);
  CHECK_THROWS_AS(resampler.begin(2'000'000'000), ItemError);
}
