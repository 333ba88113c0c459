#include "stages/audio/split_audio.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "engine/audio_clip.h"
#include "stages/audio/audio_reader.h"
#include "stages/audio/clip_cutter.h"
#include "stages/decimal.h"

namespace reelfolio::stages {
namespace {

struct ClipSettings {
  std::string stage_name;
  double min_clip_s = 10;
  double max_clip_s = 30;
  double max_heard_s = 60;
  double max_duration_s = 24 * 3600.0;
  TrackChoice track;
};

std::int64_t sample_at(double time_s) {
  return static_cast<std::int64_t>(std::llround(time_s * engine::kAudioSampleRate));
}

class SplitAudioWorker final : public Transform::Worker {
 public:
  explicit SplitAudioWorker(const ClipSettings& settings)
      : settings_(settings), cutter_(settings.min_clip_s, settings.max_clip_s) {}

  void process(const Item& item, Emitter& out) override {
    out_ = &out;
    try {
      if (item.unit) {
        attach(item, out);
      } else {
        split(item, out);
      }
    } catch (const AudioReader::Interrupted&) {
      throw Cancelled{};
    }
  }

  void end_input() override {
    reader_.reset();
    input_.reset();
    failed_ = false;
  }

 private:
  /// Opens the file of `item` at its start.
  void open(const Item& item) {
    reader_.reset();
    piece_.clear();
    AudioReaderOptions options;
    options.track = settings_.track;
    options.interrupted = [this] { return out_->stopped(); };
    reader_.emplace(item.input->path, std::move(options));
  }

  // A whole file.

  void split(const Item& item, Emitter& out) {
    open(item);
    int index = 0;
    if (!reader_->has_track()) {
      emit_unit(item, index, 0, reader_->length_s().value_or(0), Sound{{}, true}, out);
      return;
    }
    const double length_s = reader_->length_s().value_or(0);
    std::vector<SoundClip> clips;
    const auto emit_clips = [&] {
      for (SoundClip& clip : clips) {
        const double start_s = clip.start_s;
        const double end_s = clip.end_s();
        emit_unit(item, index++, start_s, end_s, Sound{{std::move(clip)}, false}, out);
      }
      clips.clear();
    };
    cutter_.begin(0);
    const std::int64_t most = sample_at(settings_.max_duration_s);
    bool too_long = false;
    while (!too_long && reader_->next(piece_)) {
      too_long = reader_->position() > most;
      if (too_long) piece_.resize(piece_.size() - static_cast<std::size_t>(reader_->position() - most));
      cutter_.add(piece_, clips);
      emit_clips();
      if (length_s > 0) {
        out.advanced(static_cast<double>(reader_->position()) / engine::kAudioSampleRate / length_s);
      }
    }
    cutter_.finish(clips);
    emit_clips();
    const std::vector<ItemError> problems = reader_->take_problems();
    if (index == 0) throw libav::nothing_decoded("audio.no_samples", "no sound can be decoded", problems);
    for (const ItemError& problem : problems) out.error(problem, nullptr);
    if (too_long) {
      out.error(
          ItemError("audio.duration_limit", "is longer than " + milliseconds_text(settings_.max_duration_s) +
                                                " s; the rest is left out (max_duration)"),
          nullptr);
    }
  }

  void emit_unit(const Item& item, int index, double start_s, double end_s, Sound sound, Emitter& out) const {
    auto unit = std::make_shared<Unit>();
    unit->producer = settings_.stage_name;
    unit->kind = UnitKind::clip;
    unit->index = index;
    unit->start_s = start_s;
    unit->end_s = end_s;
    out.emit(Item{item.input, std::move(unit), {}, std::move(sound)});
  }

  // A scene.

  void attach(const Item& item, Emitter& out) {
    const bool has_frames = !item.pictures.empty();
    if (!open_for(item, out)) {
      if (has_frames) emit_with(item, Sound{}, out);
      return;
    }
    if (!reader_->has_track()) {
      emit_with(item, Sound{{}, true}, out);
      return;
    }
    std::vector<SoundClip> clips;
    bool emitted = false;
    const auto emit_clips = [&] {
      for (SoundClip& clip : clips) emit_with(item, Sound{{std::move(clip)}, false}, out);
      emitted = emitted || !clips.empty();
      clips.clear();
    };
    const std::int64_t from = sample_at(item.unit->start_s);
    const std::int64_t end = sample_at(item.unit->end_s);
    const std::int64_t to = has_frames ? std::min(end, from + sample_at(settings_.max_heard_s)) : end;
    cutter_.begin(from);
    try {
      read(from, to, [&](std::span<const float> samples) {
        cutter_.add(samples, clips);
        if (!has_frames) emit_clips();
      });
    } catch (const ItemError& error) {
      failed_ = true;
      out.error(error, item.unit);
    }
    cutter_.finish(clips);
    for (const ItemError& problem : reader_->take_problems()) out.error(problem, item.unit);
    if (has_frames) {
      if (to < end && reader_->position() >= to) {
        out.error(
            ItemError("audio.left_out", "the scene is longer than max_heard: the sound after its first " +
                                            milliseconds_text(settings_.max_heard_s) + " s is left out"),
            item.unit);
      }
      emit_with(item, Sound{std::move(clips), false}, out);
      return;
    }
    emit_clips();
    if (!emitted) emit_with(item, Sound{}, out);
  }

  /// Readies the reader for the scene. False: the file has an error, which is reported.
  bool open_for(const Item& item, Emitter& out) {
    if (input_ != item.input) end_input();
    const bool behind = reader_ && reader_->position() - static_cast<std::int64_t>(piece_.size()) >
                                       sample_at(item.unit->start_s);
    if (!failed_ && (input_ != item.input || behind)) {
      input_ = item.input;
      try {
        open(item);
      } catch (const ItemError& error) {
        failed_ = true;
        out.error(error, nullptr);
      }
    }
    return !failed_;
  }

  /// Gives samples [from, to) of the input to `take`, in pieces, as far as there are any.
  /// `piece_` holds the last samples before the reader's position.
  template <typename Take>
  void read(std::int64_t from, std::int64_t to, const Take& take) {
    do {
      const std::int64_t first = reader_->position() - static_cast<std::int64_t>(piece_.size());
      const auto begin = std::clamp<std::int64_t>(from - first, 0, static_cast<std::int64_t>(piece_.size()));
      const auto end = std::clamp<std::int64_t>(to - first, begin, static_cast<std::int64_t>(piece_.size()));
      if (end > begin) {
        take(std::span(piece_).subspan(static_cast<std::size_t>(begin),
                                       static_cast<std::size_t>(end - begin)));
      }
      if (reader_->position() >= to) {
        // What belongs to the next scene.
        piece_.erase(piece_.begin(), piece_.begin() + static_cast<std::ptrdiff_t>(end));
        return;
      }
    } while (reader_->next(piece_));
  }

  static void emit_with(const Item& item, Sound sound, Emitter& out) {
    Item made = item;
    made.sound = std::move(sound);
    out.emit(std::move(made));
  }

  const ClipSettings& settings_;  // of the stage, which outlives its workers
  ClipCutter cutter_;
  std::shared_ptr<const InputFile> input_;  // of the scenes in hand
  std::optional<AudioReader> reader_;
  std::vector<float> piece_;
  bool failed_ = false;
  const Emitter* out_ = nullptr;  // of the item in hand; the reader outlives it
};

class SplitAudio final : public Transform {
 public:
  explicit SplitAudio(ClipSettings settings) : settings_(std::move(settings)) {}
  std::unique_ptr<Worker> make_worker() const override {
    return std::make_unique<SplitAudioWorker>(settings_);
  }

 private:
  ClipSettings settings_;
};

}  // namespace

StageType split_audio_type() {
  StageType type;
  type.name = "split_audio";
  type.help = "Cuts the sound of files into clips at quiet places, or attaches their sound to scenes.";
  type.accepts = {ItemType::video, ItemType::sound, ItemType::scene, ItemType::frames};
  type.produces = {ItemType::clip, ItemType::heard_scene, ItemType::heard_frames};
  type.gives = [](const std::vector<ItemType>& receives) {
    std::vector<ItemType> gives;
    for (const ItemType received : receives) {
      const ItemType given = received == ItemType::scene    ? ItemType::heard_scene
                             : received == ItemType::frames ? ItemType::heard_frames
                                                            : ItemType::clip;
      if (std::find(gives.begin(), gives.end(), given) == gives.end()) gives.push_back(given);
    }
    return gives;
  };
  const auto duration = [](std::string name, std::string help, double default_value, double min, double max) {
    return ParamSpec{
        std::move(name), ParamType::duration, std::move(help), default_value, false, {}, min, max};
  };
  type.params = {
      duration("max_clip", "longest clip; the model hears 30 s at once", 30.0, 1.0, 30.0),
      duration("min_clip", "a longer sound is cut at the quietest place between this and max_clip", 10.0, 0.5,
               30.0),
      duration("max_heard", "scenes with frames: how much of their sound goes with them, from the start on",
               60.0, 1.0, 3600.0),
      duration("max_duration", "length of one file that is cut into clips; the rest is left out and reported",
               24 * 3600.0, 0.1, 30 * 24 * 3600.0),
  };
  for (ParamSpec& spec : track_params()) type.params.push_back(std::move(spec));
  type.make_transform = [](const Params& params, const StageContext& context) -> std::unique_ptr<Transform> {
    ClipSettings settings;
    settings.stage_name = context.stage_name;
    settings.max_clip_s = params.number("max_clip");
    settings.min_clip_s = params.number("min_clip");
    settings.max_heard_s = params.number("max_heard");
    settings.max_duration_s = params.number("max_duration");
    settings.track = track_choice_of(params);
    if (settings.min_clip_s > settings.max_clip_s)
      throw ParamError("min_clip", "must not be more than max_clip");
    return std::make_unique<SplitAudio>(std::move(settings));
  };
  return type;
}

}  // namespace reelfolio::stages
