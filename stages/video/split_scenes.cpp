#include "stages/video/split_scenes.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "stages/decimal.h"
#include "stages/video/detectors.h"
#include "stages/video/scene_tiler.h"
#include "stages/video/video_reader.h"

namespace reelfolio::stages {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct SceneSettings {
  std::string stage_name;
  DetectorSettings detector;
  int score_side = 256;
  double max_scene_s = 0;
  double start_s = 0;
  double end_s = kInfinity;
  std::int64_t max_frames = 0;
  double max_duration_s = 0;
};

class SplitScenesWorker : public Transform::Worker {
 public:
  explicit SplitScenesWorker(const SceneSettings& settings) : settings_(settings) {}

  void process(const Item& item, Emitter& out) override {
    try {
      split(item, out);
    } catch (const VideoReader::Interrupted&) {
      throw Cancelled{};
    }
  }

 private:
  void split(const Item& item, Emitter& out) const {
    VideoReaderOptions options;
    options.interrupted = [&out] { return out.stopped(); };
    VideoReader reader(item.input->path, std::move(options));
    const double length_s = std::min(reader.length_s().value_or(kInfinity), settings_.end_s);
    const std::unique_ptr<Detector> detector = make_detector(settings_.detector);
    SceneTiler tiler(settings_.max_scene_s);
    std::vector<double> cuts;
    std::vector<SceneSpan> scenes;
    BgrFrame frame;
    int index = 0;
    const auto emit_scenes = [&] {
      for (const double cut : cuts) tiler.add_cut(cut, scenes);
      cuts.clear();
      for (const SceneSpan& scene : scenes) out.emit(scene_item(item, scene, index++));
      scenes.clear();
    };

    double end_s = 0;
    std::int64_t frames = 0;
    std::optional<ItemError> limit;
    bool has_frame = settings_.start_s > 0 ? reader.move_to(settings_.start_s) : reader.next();
    const bool any = has_frame;
    for (; has_frame; has_frame = reader.next()) {
      if (reader.time_s() >= settings_.end_s) break;
      limit = limit_hit(frames++, reader.time_s());
      if (limit) break;
      reader.score_frame(settings_.score_side, frame);
      detector->add_frame(reader.time_s(), frame, cuts);
      end_s = reader.end_s();
      emit_scenes();
      tiler.add_frame(reader.time_s(), scenes);
      out.advanced((end_s - settings_.start_s) / (length_s - settings_.start_s));
    }
    const std::vector<ItemError> problems = reader.problems();
    if (!any) {
      throw libav::nothing_decoded("video.no_frames", "no frame of the video can be decoded", problems);
    }
    detector->finish(end_s, cuts);
    emit_scenes();
    tiler.finish(end_s, scenes);
    emit_scenes();
    for (const ItemError& problem : problems) out.error(problem, nullptr);
    if (limit) out.error(*limit, nullptr);
  }

  /// Why the frame at `time_s`, with `frames` before it, is not looked at any more.
  std::optional<ItemError> limit_hit(std::int64_t frames, double time_s) const {
    if (frames >= settings_.max_frames) {
      return ItemError("video.frame_limit", "has more than " + std::to_string(settings_.max_frames) +
                                                " frames; the rest is left out (max_frames)");
    }
    if (time_s - settings_.start_s >= settings_.max_duration_s) {
      return ItemError("video.duration_limit", "is longer than " +
                                                   milliseconds_text(settings_.max_duration_s) +
                                                   " s; the rest is left out (max_duration)");
    }
    return std::nullopt;
  }

  Item scene_item(const Item& item, const SceneSpan& scene, int index) const {
    auto unit = std::make_shared<Unit>();
    unit->producer = settings_.stage_name;
    unit->kind = UnitKind::scene;
    unit->index = index;
    unit->start_s = scene.start_s;
    unit->end_s = scene.end_s;
    return Item{item.input, std::move(unit), {}};
  }

  const SceneSettings& settings_;
};

class SplitScenes : public Transform {
 public:
  explicit SplitScenes(SceneSettings settings) : settings_(std::move(settings)) {}
  std::unique_ptr<Worker> make_worker() const override {
    return std::make_unique<SplitScenesWorker>(settings_);
  }

 private:
  SceneSettings settings_;
};

DetectorKind detector_kind(const std::string& name) {
  if (name == "content") return DetectorKind::content;
  if (name == "threshold") return DetectorKind::threshold;
  if (name == "histogram") return DetectorKind::histogram;
  if (name == "hash") return DetectorKind::hash;
  return DetectorKind::adaptive;
}

std::unique_ptr<Transform> make_split_scenes(const Params& params, const StageContext& context) {
  SceneSettings settings;
  settings.stage_name = context.stage_name;
  DetectorSettings& d = settings.detector;
  d.kind = detector_kind(params.text("detector"));
  d.threshold = params.has("threshold") ? params.number("threshold") : default_threshold(d.kind);
  if ((d.kind == DetectorKind::histogram || d.kind == DetectorKind::hash) && d.threshold > 1) {
    throw ParamError("threshold",
                     "the " + params.text("detector") + " detector's threshold is between 0 and 1");
  }
  d.min_scene_s = params.number("min_scene");
  d.weights = {params.number("weight_hue"), params.number("weight_saturation"), params.number("weight_luma"),
               params.number("weight_edges")};
  if (d.weights.hue + d.weights.saturation + d.weights.luma + d.weights.edges <= 0) {
    throw ParamError("weight_luma", "one of the four weights must be more than 0");
  }
  d.edge_kernel = static_cast<int>(params.integer("edge_kernel"));
  if (d.edge_kernel != 0 && (d.edge_kernel < 3 || d.edge_kernel % 2 == 0)) {
    throw ParamError("edge_kernel", "must be 0 or an odd number from 3");
  }
  d.filter = params.text("filter") == "suppress" ? CutFilter::suppress : CutFilter::merge;
  d.window = static_cast<int>(params.integer("window"));
  d.min_content = params.number("min_content");
  d.fade_bias = params.number("fade_bias");
  d.fade_to_white = params.text("fade_to") == "white";
  d.min_fade_s = params.number("min_fade");
  d.final_fade = params.boolean("final_fade");
  d.bins = static_cast<int>(params.integer("bins"));
  d.hash_size = static_cast<int>(params.integer("hash_size"));
  d.hash_lowpass = static_cast<int>(params.integer("hash_lowpass"));
  if (d.hash_size * d.hash_lowpass % 2 != 0) {
    throw ParamError("hash_lowpass", "hash_size times hash_lowpass must be even");
  }
  settings.score_side = static_cast<int>(params.integer("score_side"));
  if (params.has("max_scene")) settings.max_scene_s = params.number("max_scene");
  settings.start_s = params.number("start");
  if (params.has("end")) settings.end_s = params.number("end");
  settings.max_frames = params.integer("max_frames");
  settings.max_duration_s = params.number("max_duration");
  if (settings.end_s <= settings.start_s) throw ParamError("end", "must be later than start");
  return std::make_unique<SplitScenes>(std::move(settings));
}

ParamSpec number(std::string name, std::string help, double default_value, double min, double max) {
  return {std::move(name), ParamType::number, std::move(help), default_value, false, {}, min, max};
}

ParamSpec integer(std::string name, std::string help, std::int64_t default_value, double min, double max) {
  return {std::move(name), ParamType::integer, std::move(help), default_value, false, {}, min, max};
}

ParamSpec duration(std::string name, std::string help, ParamValue default_value, double min) {
  return {
      std::move(name), ParamType::duration, std::move(help), std::move(default_value), false, {}, min, {}};
}

ParamSpec choice(std::string name, std::string help, std::string default_value,
                 std::vector<std::string> choices) {
  return {std::move(name),
          ParamType::choice,
          std::move(help),
          std::move(default_value),
          false,
          std::move(choices),
          {},
          {}};
}

}  // namespace

StageType split_scenes_type() {
  StageType type;
  type.name = "split_scenes";
  type.help = "Cuts videos into scenes that tile them.";
  type.accepts = {ItemType::video};
  type.produces = {ItemType::scene};
  type.params = {
      choice("detector",
             "what makes a cut: adaptive (change against the frames around it), content (change alone), "
             "threshold (fades through black), histogram, hash",
             "adaptive", {"adaptive", "content", "threshold", "histogram", "hash"}),
      {"threshold",
       ParamType::number,
       "score from which a frame is a cut; left out: adaptive 3, content 27, threshold 12, histogram 0.2, "
       "hash 0.35",
       {},
       false,
       {},
       0.0,
       255.0},
      duration("min_scene", "shortest scene; cuts that would make a shorter one are dropped or merged", 0.6,
               0.0),
      duration("max_scene", "longer scenes are divided evenly; left out: scenes may have any length", {},
               1.0),
      integer("window", "adaptive: frames on each side that a frame is compared with", 2, 1, 100),
      number("min_content", "adaptive: content score that a cut has at least", 15.0, 0, 255),
      choice("filter",
             "content: cuts closer than min_scene are merged into one, or the later ones suppressed", "merge",
             {"merge", "suppress"}),
      number("weight_hue", "content, adaptive: weight of changes of hue", 1.0, 0, 1000),
      number("weight_saturation", "content, adaptive: weight of changes of saturation", 1.0, 0, 1000),
      number("weight_luma", "content, adaptive: weight of changes of brightness", 1.0, 0, 1000),
      number("weight_edges", "content, adaptive: weight of changes of edges", 0.0, 0, 1000),
      integer("edge_kernel",
              "content, adaptive: odd width in pixels that edges are grown to; 0: by picture size", 0, 0, 99),
      number("fade_bias", "threshold: where in a fade the cut is, from -1 (its start) to 1 (its end)", 0.0,
             -1, 1),
      choice("fade_to", "threshold: what fades go through", "black", {"black", "white"}),
      duration("min_fade", "threshold: a fade that stays dark for less makes no cut", 0.0, 0.0),
      {"final_fade",
       ParamType::boolean,
       "threshold: a fade at the end that stays dark makes a scene",
       false,
       false,
       {},
       {},
       {}},
      integer("bins", "histogram: number of brightness bins", 128, 2, 256),
      integer("hash_size", "hash: low frequencies kept in each direction", 8, 2, 64),
      integer("hash_lowpass", "hash: how many times that size the picture has before they are taken", 2, 1,
              16),
      integer("score_side", "longer side in pixels of the pictures that are compared", 256, 16, 4096),
      duration("start", "scenes begin with the frame shown at this time", 0.0, 0.0),
      duration("end", "scenes end before the first frame from this time on; left out: the end of the video",
               {}, 0.0),
      integer("max_frames", "frames of one video; the rest is left out and reported", 10'000'000, 1, 1e12),
      duration("max_duration", "length of one video from start on; the rest is left out and reported",
               24 * 3600.0, 0.001),
  };
  type.make_transform = [](const Params& params, const StageContext& context) {
    return make_split_scenes(params, context);
  };
  return type;
}

}  // namespace reelfolio::stages
