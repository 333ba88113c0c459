#include "stages/audio/mono_sound.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>
#include <string>
#include <type_traits>

#include "engine/audio_clip.h"
#include "stages/error.h"

extern "C" {
#include <libavutil/channel_layout.h>
#include <libavutil/opt.h>
}

namespace reelfolio::stages {
namespace {

constexpr float kMostMixed = 8;
// Beyond what any format means; keeps the filter's tables small.
constexpr int kLeastRate = 1000;
constexpr int kMostRate = 6'144'000;

std::vector<float> channel_weights(const AVChannelLayout& layout) {
  std::vector<float> weights(static_cast<std::size_t>(layout.nb_channels), 1.0F);
  if (layout.order == AV_CHANNEL_ORDER_AMBISONIC) {
    std::fill(weights.begin() + 1, weights.end(), 0.0F);
  } else if (layout.order != AV_CHANNEL_ORDER_UNSPEC) {
    for (std::size_t i = 0; i < weights.size(); ++i) {
      switch (av_channel_layout_channel_from_index(&layout, static_cast<unsigned>(i))) {
        case AV_CHAN_FRONT_LEFT:
        case AV_CHAN_FRONT_RIGHT:
        case AV_CHAN_STEREO_LEFT:
        case AV_CHAN_STEREO_RIGHT:
        case AV_CHAN_UNKNOWN:
        case AV_CHAN_NONE:
          break;
        case AV_CHAN_FRONT_CENTER:
          weights[i] = std::sqrt(2.0F);
          break;
        case AV_CHAN_LOW_FREQUENCY:
        case AV_CHAN_LOW_FREQUENCY_2:
          weights[i] = 0;
          break;
        default:
          weights[i] = 0.5F;
      }
    }
  }
  float sum = 0;
  for (const float weight : weights) sum += weight;
  for (float& weight : weights) weight = sum > 0 ? weight / sum : 1.0F / static_cast<float>(weights.size());
  return weights;
}

template <class T>
float full_scale_one(T sample) {
  if constexpr (std::is_floating_point_v<T>) {
    return static_cast<float>(sample);
  } else if constexpr (std::is_same_v<T, std::uint8_t>) {
    return (static_cast<float>(sample) - 128.0F) / 128.0F;
  } else {
    return static_cast<float>(static_cast<double>(sample) /
                              -static_cast<double>(std::numeric_limits<T>::min()));
  }
}

template <class T>
std::int64_t mix(const AVFrame& frame, int from, std::vector<float>& mono) {
  const std::vector<float> weights = channel_weights(frame.ch_layout);
  const bool planar = av_sample_fmt_is_planar(static_cast<AVSampleFormat>(frame.format)) != 0;
  const std::size_t step = planar ? 1 : weights.size();
  const auto count = static_cast<std::size_t>(std::max(frame.nb_samples - from, 0));
  const std::size_t first = mono.size();
  mono.resize(first + count, 0.0F);
  std::int64_t not_finite = 0;
  for (std::size_t channel = 0; channel < weights.size(); ++channel) {
    const T* samples = planar ? reinterpret_cast<const T*>(frame.extended_data[channel])
                              : reinterpret_cast<const T*>(frame.extended_data[0]) + channel;
    samples += static_cast<std::size_t>(from) * step;
    for (std::size_t i = 0; i < count; ++i) {
      const float sample = full_scale_one(samples[i * step]);
      if (std::isfinite(sample)) {
        mono[first + i] += weights[channel] * std::clamp(sample, -kMostMixed, kMostMixed);
      } else {
        ++not_finite;
      }
    }
  }
  return not_finite;
}

}  // namespace

std::int64_t mix_to_mono(const AVFrame& frame, int from, std::vector<float>& mono) {
  switch (static_cast<AVSampleFormat>(frame.format)) {
    case AV_SAMPLE_FMT_U8:
    case AV_SAMPLE_FMT_U8P:
      return mix<std::uint8_t>(frame, from, mono);
    case AV_SAMPLE_FMT_S16:
    case AV_SAMPLE_FMT_S16P:
      return mix<std::int16_t>(frame, from, mono);
    case AV_SAMPLE_FMT_S32:
    case AV_SAMPLE_FMT_S32P:
      return mix<std::int32_t>(frame, from, mono);
    case AV_SAMPLE_FMT_S64:
    case AV_SAMPLE_FMT_S64P:
      return mix<std::int64_t>(frame, from, mono);
    case AV_SAMPLE_FMT_FLT:
    case AV_SAMPLE_FMT_FLTP:
      return mix<float>(frame, from, mono);
    case AV_SAMPLE_FMT_DBL:
    case AV_SAMPLE_FMT_DBLP:
      return mix<double>(frame, from, mono);
    case AV_SAMPLE_FMT_NONE:
    case AV_SAMPLE_FMT_NB:
      break;
  }
  throw ItemError("audio.unsupported", "unknown sample format " + std::to_string(frame.format));
}

void Resampler::begin(int rate) {
  if (rate < kLeastRate || rate > kMostRate) {
    throw ItemError("audio.unsupported", "the sound has " + std::to_string(rate) +
                                             " samples a second, expected " + std::to_string(kLeastRate) +
                                             " to " + std::to_string(kMostRate));
  }
  taken_ = 0;
  given_ = 0;
  if (rate == engine::kAudioSampleRate) {
    context_.reset();
  } else if (!context_ || rate != rate_) {
    const AVChannelLayout mono = AV_CHANNEL_LAYOUT_MONO;
    SwrContext* context = nullptr;
    // FFmpeg 5 takes the layouts by pointers that are not const, and reads them.
    AVChannelLayout in = mono;
    AVChannelLayout out = mono;
    swr_alloc_set_opts2(&context, &out, AV_SAMPLE_FMT_FLT, engine::kAudioSampleRate, &in, AV_SAMPLE_FMT_FLT,
                        rate, 0, nullptr);
    if (context == nullptr) throw std::bad_alloc();
    context_.reset(context);
    av_opt_set(context, "filter_type", "kaiser", 0);
    av_opt_set_double(context, "kaiser_beta", 9, 0);
    av_opt_set_int(context, "filter_size", 128, 0);
    av_opt_set_double(context, "cutoff", 0.955, 0);
    av_opt_set_int(context, "linear_interp", 1, 0);
  }
  rate_ = rate;
  if (context_ && swr_init(context_.get()) < 0) {
    throw ItemError("audio.unsupported",
                    "cannot resample from " + std::to_string(rate) + " samples a second");
  }
}

void Resampler::add(const std::vector<float>& mono, std::vector<float>& out) {
  taken_ += static_cast<std::int64_t>(mono.size());
  convert(mono.data(), static_cast<int>(mono.size()), out);
}

void Resampler::convert(const float* samples, int count, std::vector<float>& out) {
  const std::size_t first = out.size();
  if (!context_) {
    if (samples != nullptr) out.insert(out.end(), samples, samples + count);
  } else {
    const int room = swr_get_out_samples(context_.get(), count);
    if (room < 0) throw std::bad_alloc();
    out.resize(first + static_cast<std::size_t>(room));
    auto* to = reinterpret_cast<std::uint8_t*>(out.data() + first);
    const auto* from = reinterpret_cast<const std::uint8_t*>(samples);
    const int got = swr_convert(context_.get(), &to, room, samples != nullptr ? &from : nullptr, count);
    if (got < 0) throw std::bad_alloc();
    out.resize(first + static_cast<std::size_t>(got));
  }
  for (std::size_t i = first; i < out.size(); ++i) out[i] = std::clamp(out[i], -1.0F, 1.0F);
  given_ += static_cast<std::int64_t>(out.size() - first);
}

void Resampler::finish(std::vector<float>& out) {
  if (context_) convert(nullptr, 0, out);
  const auto wanted =
      static_cast<std::int64_t>(std::llround(static_cast<double>(taken_) * engine::kAudioSampleRate / rate_));
  out.resize(static_cast<std::size_t>(
      std::max<std::int64_t>(static_cast<std::int64_t>(out.size()) + wanted - given_, 0)));
  given_ = wanted;
}

}  // namespace reelfolio::stages
