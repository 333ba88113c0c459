#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "stages/video/libav.h"

extern "C" {
#include <libswresample/swresample.h>
}

/// Decoded sound of any format, layout and rate -> one channel at engine::kAudioSampleRate.
namespace reelfolio::stages {

/// Appends samples [from, nb_samples) of `frame`, mixed to one channel, to `mono`; full scale is
/// -1 to 1, and nothing is beyond -8 to 8.
///
/// Channels are averaged with weights: front left and right (and channels of unknown place) 1,
/// front centre, which carries the speech of surround sound, sqrt 2, low frequency effects 0, the rest
/// 1/2; of an ambisonic sound the first channel stands for all. Stereo is thus the plain mean.
///
/// Samples that are not finite count as silence; their number is returned. Throws ItemError
/// "audio.unsupported" for a sample format that FFmpeg does not document.
std::int64_t mix_to_mono(const AVFrame& frame, int from, std::vector<float>& mono);

/// Resamples one stretch after the other to engine::kAudioSampleRate with FFmpeg's swresample: Kaiser window
/// (beta 9), 128 taps at the lower of the two rates, cutoff at 0.955 of half that rate; so to 16 kHz
/// 7.2 kHz and below pass within 0.1 dB and what would alias is 80 dB down. Sample n of the output
/// is the sound at n / 16000 s after the stretch's first sample: the filter's delay is taken out.
/// One thread at a time.
class Resampler {
 public:
  /// Begins a stretch of `rate` samples a second; the one before must be finished. Throws ItemError
  /// "audio.unsupported" for a rate that cannot be.
  void begin(int rate);
  /// Appends what is ready to `out`, within -1 to 1.
  void add(const std::vector<float>& mono, std::vector<float>& out);
  /// The rest of the stretch; then out holds the stretch's duration, rounded to the nearest sample.
  void finish(std::vector<float>& out);
  int rate() const { return rate_; }

 private:
  struct Deleter {
    void operator()(SwrContext* p) const { swr_free(&p); }
  };
  void convert(const float* samples, int count, std::vector<float>& out);

  std::unique_ptr<SwrContext, Deleter> context_;  ///< null where the rate is the wanted one
  int rate_ = 0;
  std::int64_t taken_ = 0;  ///< samples of this stretch, in and out
  std::int64_t given_ = 0;
};

}  // namespace reelfolio::stages
