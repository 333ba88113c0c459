#include "pipeline/decoding.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <utility>

#include "engine/tokenizer.h"
#include "pipeline/answer_key.h"
#include "pipeline/recorded_decoding.h"
#include "stages/decoder/isolated_decoder.h"
#include "stages/write_jsonl.h"

namespace reelfolio::pipeline {

namespace {

using stages::Cancelled;
using stages::ItemError;
using stages::kInternalError;
using stages::StageTimer;
using stages::TimedStage;

/// What one decoder thread holds: workers with what they have open, and the input in hand.
class Decoder : private stages::DecodeEvents {
 public:
  Decoder(RunState& state, const RunOptions& options, const engine::Engine* engine)
      : state_(state),
        probe_(options.probe),
        engine_(engine),
        timer_([&clock = state.clock] { return clock.now_s(); }, state.graph.stages.size()),
        thread_(make_decoder_thread(state.plan, timer_, options.decoders)) {}
  ~Decoder() override { add_costs(); }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  /// Makes all items of one input. Throws Cancelled if the run stops.
  void decode(const std::shared_ptr<InputRun>& run, const ListedInput& listed) {
    run_ = run;
    parts_ = 0;
    state_.report([&](Progress& progress) { progress.input_started(run->index, listed.name); });
    try {
      if (!open(listed) || replay_decoding()) {
        thread_->forget();
      } else {
        if (state_.history != nullptr) {
          recorder_.emplace();
          media_writer_ = state_.history->record_media(*input_);
        }
        begin();
        thread_->decode(input_, *this);
        if (media_writer_) media_writer_->keep();
        if (recorder_) state_.history->record_decoding(*input_, recorder_->take());
      }
    } catch (const Cancelled&) {
      forget();
      if (state_.is_stopping()) throw;
      return;
    }
    forget();
  }

 private:
  /// Probes the input. False: there is nothing to decode.
  bool open(const ListedInput& listed) {
    if (!listed.error.empty()) {
      failed(GraphStage::kInputs, nullptr, "input.unreadable", listed.error);
      return false;
    }
    const TimedStage timed(timer_, GraphStage::kInputs);
    timer_.count_item(GraphStage::kInputs);
    try {
      probe(listed);
    } catch (const ItemError& error) {
      failed(GraphStage::kInputs, nullptr, error.code(), error.what());
      return false;
    } catch (const stages::DecoderServerError&) {
      throw;
    } catch (const stages::OutputError&) {
      throw;
    } catch (const std::exception& error) {
      failed(GraphStage::kInputs, nullptr, kInternalError, error.what());
      return false;
    }
    std::optional<stages::InputResult> known;
    if (state_.history != nullptr) {
      Found found = state_.history->find(*input_);
      known = std::move(found.result);
      state_.report([&](Progress& progress) { progress.input_found(run_->index, found.reason); });
    }
    const std::lock_guard lock(state_.mutex);
    run_->builder.set_input(input_);
    if (known) {
      known->input = input_;
      run_->reused = std::move(known);
      return false;
    }
    if (input_->media == stages::MediaKind::unknown) {
      run_->builder.add_error(GraphStage::kInputs, nullptr, "input.unsupported",
                              "the content is no video, PDF, image, sound or text");
      return false;
    }
    return true;
  }

  void probe(const ListedInput& listed) {
    std::optional<stages::InputFile> file;
    if (state_.history != nullptr) file = state_.history->unchanged(listed);
    const bool is_known = file.has_value();
    if (!file) {
      file = probe_ ? probe_(listed.path, listed.name)
                    : thread_->probe(listed.path, listed.name, [this] { return state_.is_stopping(); });
    }
    input_ = std::make_shared<const stages::InputFile>(std::move(*file));
    if (state_.history != nullptr && !is_known) state_.history->record_file(*input_);
  }

  void begin() { hand_over(GraphStage::kInputs, stages::Item{input_, nullptr, {}}); }

  void forget() {
    recorder_.reset();
    media_writer_.reset();
    input_.reset();
    run_.reset();
  }

  /// Does without decoding where it is known how the input came apart, and what has to be seen for
  /// questions that are not answered yet is kept. False: it has to be decoded.
  bool replay_decoding() {
    if (state_.history == nullptr) return false;
    const std::optional<Decoding> decoding = state_.history->decoding(*input_);
    if (!decoding) return false;
    const std::unique_ptr<MediaCache::Reader> reader = state_.history->media(*input_);
    ReplayCheck check(*this, reader.get());
    if (!replay(*decoding, state_.plan, input_, check.media(), check) || !check.complete()) return false;
    begin();
    return replay(*decoding, state_.plan, input_, replayed_media(media_, reader.get(), check.wanted()),
                  *this);
  }

  /// Pictures without pixels, whose content hashes `media` knows.
  static std::shared_ptr<const engine::RgbImage> blank_picture(MediaHashes& media, const std::string& hash,
                                                               const stages::PictureShape& shape) {
    auto image = std::make_shared<engine::RgbImage>();
    image->width = shape.width;
    image->height = shape.height;
    media.set(image.get(), hash);
    return image;
  }

  /// What ReplayCheck has found: pictures that are wanted, and sounds.
  static MakeMedia replayed_media(MediaHashes& media, const MediaCache::Reader* reader,
                                  const std::set<std::string>& wanted) {
    const auto checked = [&media](auto found, const std::string& hash) {
      // Checked a moment ago: whoever changes the cache meanwhile may as well change the ledger.
      if (!found) throw stages::OutputError("the cache of pictures has changed while it was read", false);
      media.set(found.get(), hash);
      return found;
    };
    MakeMedia make;
    make.picture = [=, &media, &wanted](const std::string& hash, const stages::PictureShape& shape) {
      return wanted.contains(hash) ? checked(reader->picture(hash, shape), hash)
                                   : blank_picture(media, hash, shape);
    };
    make.clip = [=](const std::string& hash, const stages::ClipShape& shape) {
      return checked(reader->clip(hash, shape), hash);
    };
    return make;
  }

  /// Follows a recorded decoding to see which pictures its open questions need, and whether they are kept.
  /// Sounds are needed in any case: what stages ask depends on what is silent.
  class ReplayCheck final : public stages::DecodeEvents {
   public:
    ReplayCheck(Decoder& decoder, const MediaCache::Reader* reader) : decoder_(decoder), reader_(reader) {}

    MakeMedia media() {
      MakeMedia make;
      make.picture = [this](const std::string& hash, const stages::PictureShape& shape) {
        pictures_.emplace_back(hash, shape);
        return blank_picture(media_, hash, shape);
      };
      make.clip = [this](const std::string& hash, const stages::ClipShape& shape) {
        auto clip = reader_ != nullptr ? reader_->clip(hash, shape) : nullptr;
        if (!clip) {
          complete_ = false;
          clip = std::make_shared<const engine::AudioClip>();
        }
        media_.set(clip.get(), hash);
        return clip;
      };
      return make;
    }
    bool complete() const { return complete_; }
    /// Content hashes of pictures that open questions are about.
    const std::set<std::string>& wanted() const { return wanted_; }

    void emitted(int stage, stages::Item item, bool /*is_new*/) override {
      bool open = false;
      for (const int taker : decoder_.takers(stage, item)) {
        if (!complete_ || !item.unit) break;
        try {
          const StageQuestions questions = decoder_.questions(taker, item, media_);
          open = open ||
                 !(questions.refused || std::all_of(questions.answers.begin(), questions.answers.end(),
                                                    [](const auto& answer) { return answer.has_value(); }));
        } catch (const stages::OutputError&) {
          throw;
        } catch (const std::exception&) {
          // An error of this unit, known without the model.
        }
      }
      if (open) {
        for (const auto& [hash, shape] : pictures_) want(hash, shape);
      }
      pictures_.clear();
      media_ = {};
    }
    void unit_closed(const std::shared_ptr<const stages::Unit>& /*unit*/) override {}
    void failed(int /*stage*/, std::shared_ptr<const stages::Unit> /*unit*/, const std::string& /*code*/,
                const std::string& /*message*/) override {}

   private:
    void want(const std::string& hash, const stages::PictureShape& shape) {
      if (!complete_ || wanted_.contains(hash)) return;
      complete_ = reader_ != nullptr && reader_->has_picture(hash, shape);
      wanted_.insert(hash);
    }

    Decoder& decoder_;
    const MediaCache::Reader* reader_;  ///< null: nothing is kept
    MediaHashes media_;
    std::vector<std::pair<std::string, stages::PictureShape>> pictures_;  ///< of the item in hand
    std::set<std::string> wanted_;
    bool complete_ = true;
  };

  /// Language stages that take an item of `source`.
  std::vector<int> takers(int source, const stages::Item& item) const {
    std::vector<int> found;
    const auto type = item_type(item);
    for (int stage = 0; type && stage < static_cast<int>(state_.graph.stages.size()); ++stage) {
      if (state_.graph.stages[stage].language && state_.plan.takes(stage, source, *type))
        found.push_back(stage);
    }
    return found;
  }

  /// What a language stage asks about an item, and the answers that are known. Throws what it throws.
  StageQuestions questions(int stage, const stages::Item& item, MediaHashes& media) const {
    if (!item.unit) throw std::logic_error("a language stage received an item without a unit");
    StageQuestions questions{stage, state_.graph.stages[stage].language->requests(item)};
    if (state_.history == nullptr) return questions;
    for (const engine::Request& request : questions.requests) {
      questions.keys.push_back(
          answer_key(state_.history->model(), request, state_.fingerprints[stage], media));
      std::optional<KnownAnswer> known = state_.history->answer(questions.keys.back());
      if (known && known->refused) questions.refused = std::move(known->refused);
      questions.answers.push_back(known ? std::optional(std::move(known->answer)) : std::nullopt);
    }
    return questions;
  }

  /// Hands an item of `source` to the language stages that take it.
  void hand_over(int source, const stages::Item& item) {
    const auto type = item_type(item);
    if (!type) return;
    const auto stages = static_cast<int>(state_.graph.stages.size());
    for (int stage = 0; source == GraphStage::kInputs && stage < stages; ++stage) {
      if (!state_.plan.takes(stage, source, *type)) continue;
      const std::lock_guard lock(state_.mutex);
      run_->builder.set_taken();
    }
    if (const std::vector<int> asking = takers(source, item); !asking.empty()) ask(item, asking);
  }

  /// Makes the questions of language stages about an item, and queues those without known answers.
  void ask(const stages::Item& item, const std::vector<int>& stages) {
    if (item.unit) {
      const std::lock_guard lock(state_.mutex);
      for (std::size_t i = 0; i < stages.size(); ++i) run_->builder.add_attempt(*item.unit);
    }
    QueuedItem work{run_, item, {}, 0, ++parts_};
    for (const int stage : stages) {
      const TimedStage timed(timer_, stage);
      timer_.count_item(stage);
      try {
        StageQuestions asked = questions(stage, item, media_);
        count_known(asked);
        note_keys(asked);
        if (asked.refused) {
          state_.add_error(*run_, stage, item.unit, "request.refused", *asked.refused);
        } else if (!use_known(asked, item, work.part)) {
          work.questions.push_back(std::move(asked));
        }
      } catch (const ItemError& error) {
        state_.add_error(*run_, stage, item.unit, error.code(), error.what());
      } catch (const stages::OutputError&) {
        throw;
      } catch (const std::exception& error) {
        state_.add_error(*run_, stage, item.unit, kInternalError, error.what());
      }
    }
    if (!work.questions.empty()) state_.enqueue(std::move(work));
  }

  /// True: every answer is known (there may be none to give), and the stage's result is made of them.
  bool use_known(const StageQuestions& asked, const stages::Item& item, std::uint64_t part) {
    std::vector<engine::Answer> answers;
    for (const auto& answer : asked.answers) {
      if (answer) answers.push_back(*answer);
    }
    if (answers.size() < asked.requests.size()) return false;
    state_.add_result(*run_, asked.stage, item, answers, part);
    return true;
  }

  void note_keys(const StageQuestions& asked) {
    const std::lock_guard lock(state_.mutex);
    run_->answers.insert(run_->answers.end(), asked.keys.begin(), asked.keys.end());
  }

  void count_known(const StageQuestions& asked) {
    const auto known = std::count_if(asked.answers.begin(), asked.answers.end(),
                                     [](const auto& answer) { return answer.has_value(); });
    if (known == 0) return;
    const std::lock_guard lock(state_.mutex);
    state_.costs[asked.stage + 1].known_answers += static_cast<std::uint64_t>(known);
  }

  void emitted(int stage, stages::Item item, bool is_new) override {
    check_cancelled();
    const std::shared_ptr<const stages::Unit> unit = item.unit;
    if (unit) {
      bool doubled = false;
      {
        const std::lock_guard lock(state_.mutex);
        doubled = is_new && !run_->builder.add_unit(unit);
        if (!doubled) run_->builder.add_frames(*unit, item.pictures);
        if (is_new && !doubled) run_->units[unit.get()];
      }
      if (doubled) give_up(stage, unit, "unit " + std::to_string(unit->index) + " was emitted twice");
      if (is_new) state_.report([&](Progress& progress) { progress.unit_found(run_->index); });
    }
    if (recorder_) recorder_->emitted(stage, item, is_new, media_);
    hand_over(stage, item);
    if (media_writer_) keep_media(item);
    media_ = {};  // the pictures may go, and others come to their addresses
  }

  void keep_media(const stages::Item& item) {
    for (const stages::Picture& picture : item.pictures) {
      media_writer_->add(media_.of(picture.image), *picture.image);
    }
    if (!item.sound) return;
    for (const stages::SoundClip& clip : item.sound->clips) {
      media_writer_->add(media_.of(clip.audio), *clip.audio);
    }
  }

  void unit_closed(const std::shared_ptr<const stages::Unit>& unit) override {
    if (recorder_) recorder_->unit_closed(unit);
    bool done = false;
    {
      const std::lock_guard lock(state_.mutex);
      InputRun::UnitWork& work = run_->units[unit.get()];
      work.closed = true;
      done = work.pending == 0;
      if (done) run_->units.erase(unit.get());
    }
    if (done) report_unit_done();
  }

  void failed(int stage, std::shared_ptr<const stages::Unit> unit, const std::string& code,
              const std::string& message) override {
    if (recorder_) recorder_->failed(stage, unit, code, message);
    state_.add_error(*run_, stage, std::move(unit), code, message);
  }

  /// The input is given up: the workers unwind as they do when a run stops.
  [[noreturn]] void give_up(int stage, std::shared_ptr<const stages::Unit> unit, const std::string& message) {
    failed(stage, std::move(unit), kInternalError, message);
    {
      const std::lock_guard lock(state_.mutex);
      run_->given_up = true;
    }
    throw Cancelled{};
  }

  bool stopped() const override {
    const std::lock_guard lock(state_.mutex);
    return state_.stopping || run_->given_up;
  }
  void check_cancelled() const {
    if (stopped()) throw Cancelled{};
  }

  void advanced(double part) override {
    state_.report([&](Progress& progress) { progress.input_advanced(run_->index, part); });
  }

  std::size_t count_tokens(std::string_view text) const override {
    return engine_ != nullptr ? engine_->tokenizer().encode(text).size() : DecodeEvents::count_tokens(text);
  }

  void report_unit_done() {
    const engine::EngineStats stats = engine_ != nullptr ? engine_->stats() : engine::EngineStats{};
    state_.report([&](Progress& progress) { progress.unit_done(run_->index, stats); });
  }

  void add_costs() {
    const std::lock_guard lock(state_.mutex);
    for (std::size_t i = 0; i < state_.costs.size(); ++i) {
      state_.costs[i].seconds += timer_.costs()[i].seconds;
      state_.costs[i].items += timer_.costs()[i].items;
    }
  }

  RunState& state_;
  const ProbeFunction& probe_;
  const engine::Engine* engine_;
  StageTimer timer_;
  std::unique_ptr<stages::DecoderThread> thread_;
  std::shared_ptr<InputRun> run_;
  std::uint64_t parts_ = 0;  ///< items of the input that language stages took
  std::shared_ptr<const stages::InputFile> input_;
  std::optional<DecodingRecorder> recorder_;          ///< while the input is decoded, with a history
  std::unique_ptr<MediaCache::Writer> media_writer_;  ///< while it is decoded, where its media are kept
  MediaHashes media_;                                 ///< of the item in hand
};

}  // namespace

void decode_inputs(RunState& state, const RunOptions& options, const engine::Engine* engine) {
  try {
    Decoder decoder(state, options, engine);
    while (const auto run = state.begin_next_input()) {
      decoder.decode(run, state.inputs[run->index]);
      state.end_decoding(*run);
    }
  } catch (const Cancelled&) {
    // The run stops: the input in hand stays undecoded and is dropped.
  } catch (...) {
    state.fail();
  }
}

}  // namespace reelfolio::pipeline
