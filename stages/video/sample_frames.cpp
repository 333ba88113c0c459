#include "stages/video/sample_frames.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "stages/soft_token_budget.h"
#include "stages/video/frame_quality.h"
#include "stages/video/video_reader.h"

namespace reelfolio::stages {
namespace {

constexpr double kNearS = 1.0;
// Distance of the neighbours that show whether a frame is a mixture, in time and in frames (which bounds
// how many decoded frames are kept).
constexpr double kNeighbourS = 0.2;
constexpr std::size_t kNeighbourFrames = 8;
constexpr int kJudgedSide = 384;
constexpr int kLongestSide = 1920;
// One soft token stands for 3 x 3 patches of 16 x 16 pixels.
constexpr double kTokenPixels = 48.0 * 48.0;
// Scene bounds are frame times that went through the same arithmetic; this only covers text formats between.
constexpr double kFrameSlackS = 1e-6;

struct FrameSettings {
  int per_scene = 1;
  enum class Pick { even, sharp, uniform };
  Pick pick = Pick::even;
  int soft_tokens = 70;
};

struct Place {
  double target_s;
  double from_s;  // frames that may stand for it start in [from_s, before_s)
  double before_s;
};

struct Candidate {
  HeldFrame frame;
  FrameLook look;
  /// What may stand for a place if there is nothing better: hardly anything, a passing state, a picture.
  enum class Worth { blank, mixture, good };
  Worth worth = Worth::blank;
  bool good() const { return worth == Worth::good; }
};

/// Reads frames once, in order, and tells of each in [from_s, before_s) whether it is good.
class Inspection {
 public:
  explicit Inspection(VideoReader& reader) : reader_(reader) {}

  /// Calls `visit(Candidate&&)` for each frame; stops when it returns false. False if the video has no
  /// frames.
  template <typename Visit>
  bool run(double from_s, double before_s, const Visit& visit) {
    frames_.clear();
    next_ = 0;
    if (!reader_.move_to(std::max(from_s - kNeighbourS, 0.0))) return false;
    bool more = true;
    while (true) {
      if (more) {
        add(from_s, before_s);
        more = reader_.next();
      }
      while (next_ < frames_.size() && (!more || is_complete(next_))) {
        if (frames_[next_].look.time_s >= before_s) return true;
        if (frames_[next_].held && !visit(judge(next_))) return true;
        ++next_;
        forget_old();
      }
      if (!more && next_ >= frames_.size()) return true;
    }
  }

 private:
  struct Seen {
    FrameLook look;
    std::optional<HeldFrame> held;
    bool damaged = false;
  };

  void add(double from_s, double before_s) {
    reader_.score_frame(kJudgedSide, small_);
    Seen seen;
    seen.look = look_at(small_, reader_.time_s());
    seen.damaged = reader_.is_damaged();
    if (seen.look.time_s >= from_s - kFrameSlackS && seen.look.time_s < before_s) seen.held = reader_.hold();
    frames_.push_back(std::move(seen));
  }

  bool is_complete(std::size_t i) const {
    return frames_.size() - 1 - i >= kNeighbourFrames ||
           frames_.back().look.time_s - frames_[i].look.time_s >= kNeighbourS;
  }

  Candidate judge(std::size_t i) {
    Seen& seen = frames_[i];
    Candidate candidate{
        std::move(*seen.held), seen.look,
        seen.damaged || is_blank(seen.look) ? Candidate::Worth::blank : Candidate::Worth::good};
    seen.held.reset();
    std::size_t before = i;
    while (before > 0 && i - before < kNeighbourFrames &&
           seen.look.time_s - frames_[before].look.time_s < kNeighbourS) {
      --before;
    }
    std::size_t after = i;
    while (after + 1 < frames_.size() && after - i < kNeighbourFrames &&
           frames_[after].look.time_s - seen.look.time_s < kNeighbourS) {
      ++after;
    }
    if (candidate.good() && before < i && after > i &&
        is_mixture(frames_[before].look, seen.look, frames_[after].look)) {
      candidate.worth = Candidate::Worth::mixture;
    }
    return candidate;
  }

  void forget_old() {
    while (next_ > kNeighbourFrames + 1) {
      frames_.pop_front();
      --next_;
    }
  }

  VideoReader& reader_;
  BgrFrame small_;
  std::deque<Seen> frames_;
  std::size_t next_ = 0;  // the first that is not judged yet
};

class SampleFramesWorker : public Transform::Worker {
 public:
  explicit SampleFramesWorker(const FrameSettings& settings) : settings_(settings) {}

  void process(const Item& item, Emitter& out) override {
    out_ = &out;
    try {
      sample(item, out);
    } catch (const VideoReader::Interrupted&) {
      throw Cancelled{};
    }
  }

  void end_input() override {
    reader_.reset();
    input_.reset();
  }

 private:
  void sample(const Item& item, Emitter& out) {
    if (!reader_ || input_ != item.input) {
      end_input();
      VideoReaderOptions options;
      options.interrupted = [this] { return out_->stopped(); };
      reader_.emplace(item.input->path, std::move(options));
      input_ = item.input;
    }
    std::vector<Picture> pictures;
    double after_s = -1;  // the last frame taken; each is taken once
    const double share_s = (item.unit->end_s - item.unit->start_s) / settings_.per_scene;
    for (int i = 0; i < settings_.per_scene; ++i) {
      const double slot_s = item.unit->start_s + i * share_s;
      const double target_s = uniform() ? slot_s : slot_s + share_s / 2;
      Place place{target_s, std::max(slot_s, target_s - kNearS),
                  std::min(slot_s + share_s, target_s + kNearS)};
      const std::optional<Candidate> chosen = choose(place, item.unit->start_s, after_s);
      if (!chosen) continue;
      after_s = chosen->frame.time_s();
      const PictureSize size = handed_over_size(chosen->frame.size(), settings_.soft_tokens);
      Picture picture;
      picture.image = std::make_shared<const engine::RgbImage>(chosen->frame.picture(size));
      picture.soft_tokens = settings_.soft_tokens;
      picture.time_s = after_s;
      pictures.push_back(std::move(picture));
    }
    if (pictures.empty()) {
      throw ItemError(reader_->lacks_memory() ? kMemoryLimit : "video.no_frames",
                      "no frame of the scene can be decoded");
    }
    out.emit(Item{item.input, item.unit, std::move(pictures)});
  }

  std::optional<Candidate> choose(const Place& place, double scene_start_s, double after_s) {
    std::optional<Candidate> best;
    if (!sharp()) {
      best = shown_at(place.target_s, scene_start_s, after_s);
      if ((best && best->good()) || uniform()) return best;
    }
    const auto is_better = [&](const Candidate& a, const Candidate& b) {
      if (a.worth != b.worth) return a.worth > b.worth;
      if (a.worth == Candidate::Worth::blank) return a.look.deviation > b.look.deviation;
      if (sharp()) return a.look.sharpness > b.look.sharpness;
      return std::abs(a.look.time_s - place.target_s) < std::abs(b.look.time_s - place.target_s);
    };
    Inspection(*reader_).run(place.from_s, place.before_s, [&](Candidate&& candidate) {
      if (candidate.look.time_s <= after_s) return true;
      // Going forward, frames only get further from the target once one behind it is good.
      const bool settled = !sharp() && candidate.good() && candidate.look.time_s >= place.target_s;
      if (!best || is_better(candidate, *best)) best = std::move(candidate);
      return !settled;
    });
    // Frames that are further apart than the place is wide: what is shown there may have started earlier.
    if (!best && sharp()) best = shown_at(place.target_s, scene_start_s, after_s);
    return best;
  }

  /// The frame that is on screen at `time_s`, unless it belongs to another scene or is taken.
  std::optional<Candidate> shown_at(double time_s, double scene_start_s, double after_s) {
    if (!reader_->move_to(std::max(time_s - kNeighbourS, 0.0))) return std::nullopt;
    std::optional<Candidate> shown;
    // The start of that frame is not known yet: take candidates until one starts later.
    Inspection(*reader_).run(std::max(scene_start_s, reader_->time_s()), time_s + kFrameSlackS,
                             [&](Candidate&& candidate) {
                               if (candidate.look.time_s > after_s) shown = std::move(candidate);
                               return true;
                             });
    return shown;
  }

  bool sharp() const { return settings_.pick == FrameSettings::Pick::sharp; }
  bool uniform() const { return settings_.pick == FrameSettings::Pick::uniform; }

  const FrameSettings& settings_;
  std::shared_ptr<const InputFile> input_;
  std::optional<VideoReader> reader_;
  const Emitter* out_ = nullptr;  // of the item in hand; the reader outlives it
};

class SampleFrames : public Transform {
 public:
  explicit SampleFrames(const FrameSettings& settings) : settings_(settings) {}
  std::unique_ptr<Worker> make_worker() const override {
    return std::make_unique<SampleFramesWorker>(settings_);
  }

 private:
  FrameSettings settings_;
};

}  // namespace

PictureSize handed_over_size(PictureSize frame, int soft_tokens) {
  const double longer = std::max(frame.width, frame.height);
  const double area = static_cast<double>(frame.width) * frame.height;
  const double budget_scale = std::sqrt(soft_tokens * kTokenPixels / area);
  const double scale = std::max(kLongestSide / longer, budget_scale);
  if (scale >= 1) return frame;
  return {std::max(1, static_cast<int>(std::ceil(frame.width * scale))),
          std::max(1, static_cast<int>(std::ceil(frame.height * scale)))};
}

StageType sample_frames_type() {
  StageType type;
  type.name = "sample_frames";
  type.help =
      "Attaches frames to scenes, none of them black or in the midst of a transition if it can be helped.";
  type.accepts = {ItemType::scene};
  type.produces = {ItemType::frames};
  type.params = {
      {"per_scene", ParamType::integer, "frames a scene", std::int64_t{1}, false, {}, 1.0, 32.0},
      {"pick",
       ParamType::choice,
       "even: spread over the scene; sharp: the sharpest within a second of each of those places; uniform: "
       "what "
       "is shown where each of per_scene equal parts begins, as the model's release samples videos",
       "even",
       false,
       {"even", "sharp", "uniform"},
       {},
       {}},
      soft_tokens_param(70),
  };
  type.make_transform = [](const Params& params, const StageContext&) -> std::unique_ptr<Transform> {
    FrameSettings settings;
    settings.per_scene = static_cast<int>(params.integer("per_scene"));
    if (params.text("pick") == "sharp") settings.pick = FrameSettings::Pick::sharp;
    if (params.text("pick") == "uniform") settings.pick = FrameSettings::Pick::uniform;
    settings.soft_tokens = soft_tokens_of(params);
    return std::make_unique<SampleFrames>(settings);
  };
  return type;
}

}  // namespace reelfolio::stages
