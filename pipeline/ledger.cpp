#include "pipeline/ledger.h"

#include <algorithm>
#include <array>
#include <ctime>
#include <functional>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

#include "pipeline/field_hash.h"
#include "pipeline/file_hash.h"
#include "pipeline/file_stamp.h"
#include "pipeline/fingerprints.h"
#include "pipeline/ledger_database.h"
#include "pipeline/ledger_records.h"
#include "pipeline/ledger_row_checks.h"
#include "pipeline/ledger_view.h"
#include "pipeline/names.h"
#include "pipeline/scheduler.h"
#include "pipeline/sqlite.h"
#include "stages/utf8.h"
#include "stages/write_jsonl.h"

namespace reelfolio::pipeline {

namespace {

using stages::Json;

constexpr std::array kMediaKinds = {stages::MediaKind::video, stages::MediaKind::pdf,
                                    stages::MediaKind::image, stages::MediaKind::audio,
                                    stages::MediaKind::text,  stages::MediaKind::unknown};

/// What no run has needed for so long is forgotten.
constexpr std::int64_t kForgottenDays = 90;
/// When something was needed is noted no more often than this, as every note writes.
constexpr std::int64_t kNotedDays = 30;
constexpr std::size_t kKeyBytes = 32;

std::int64_t day_now() {
  constexpr std::int64_t kSecondsADay = 24 * 3600;
  return std::int64_t{std::time(nullptr)} / kSecondsADay;
}

/// The part of `made_by` that names the model, and that of a stage.
constexpr const char* kModelKey = "model";
constexpr const char* kStagesKey = "stages";

/// "caption has changed", "answers and invoice are new", ...
std::string what_changed(const std::string& before, const std::string& now) {
  const Json old = Json::parse(before, nullptr, false);
  const Json made_by = Json::parse(now);
  if (!old.is_object() || !old.contains(kStagesKey) || !old[kStagesKey].is_object())
    return "done otherwise before";
  if (old.value(kModelKey, Json()) != made_by[kModelKey]) return "the model has changed";
  std::vector<std::string> changed;
  for (const auto& [name, fingerprint] : made_by[kStagesKey].items()) {
    if (old[kStagesKey].value(name, Json()) != fingerprint) changed.push_back(name);
  }
  if (changed.empty()) return "stages have gone";
  return joined(changed, " and ") + (changed.size() > 1 ? " have" : " has") + " changed";
}

}  // namespace

std::filesystem::path ledger_path(const std::filesystem::path& output) {
  return stages::partial_path(output).replace_extension(".ledger");
}

struct Ledger::State {
  State(std::filesystem::path path_, sqlite::Database database_, const Graph& graph_, std::string model_,
        const LedgerOptions& options_)
      : path(std::move(path_)),
        database(std::move(database_)),
        graph(graph_),
        model(std::move(model_)),
        options(options_),
        fingerprints(stage_fingerprints(graph_)),
        today(options_.day.value_or(day_now())),
        find_input(database.prepare("SELECT stamp, size, sha256, media, file_check, made_by, result, answers,"
                                    " failed, result_check, attempts, used FROM inputs WHERE path=?1")),
        find_decoding(database.prepare("SELECT key, events, row_check FROM decodings WHERE path=?1")),
        find_answer(database.prepare("SELECT answer, row_check, used FROM answers WHERE key=?1")),
        put_file(database.prepare(
            "INSERT INTO inputs(path, stamp, size, sha256, media, file_check, used)"
            " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)"
            " ON CONFLICT(path) DO UPDATE SET stamp=?2, size=?3, media=?5, file_check=?6, used=?7,"
            " attempts=iif(sha256=?4, attempts, 0), result=iif(sha256=?4, result, NULL), sha256=?4")),
        put_result(database.prepare("UPDATE inputs SET made_by=?2, result=?3, answers=?4, failed=?5,"
                                    " result_check=?6, attempts=attempts+1 WHERE path=?1 AND sha256=?7")),
        put_decoding(database.prepare(
            "INSERT OR REPLACE INTO decodings(path, key, events, row_check) VALUES(?1, ?2, ?3, ?4)")),
        put_answer(database.prepare(
            "INSERT OR REPLACE INTO answers(key, answer, row_check, used) VALUES(?1, ?2, ?3, ?4)")),
        use_input(database.prepare("UPDATE inputs SET used=?2 WHERE path=?1")),
        use_answer(database.prepare("UPDATE answers SET used=?2 WHERE key=?1")) {
    if (options.read_only) return;
    forget_unused();
    open_media();
  }

  std::unique_ptr<LedgerView> view{};  ///< outlives the database
  const std::filesystem::path path;
  std::mutex mutex;  ///< guards the database and its statements
  sqlite::Database database;
  const Graph& graph;
  const std::string model;
  const LedgerOptions options;
  const std::vector<std::string> fingerprints;
  const std::int64_t today;  ///< days since 1970
  sqlite::Statement find_input, find_decoding, find_answer;
  sqlite::Statement put_file, put_result, put_decoding, put_answer, use_input, use_answer;

  std::optional<MediaCache> cache;

  std::mutex pending_mutex;  ///< guards what follows; never waits for the disk
  std::vector<std::function<void()>> pending;
  std::map<std::string, std::string> stamps;  ///< of files being hashed, from before, by path

  struct InputRow {
    std::string stamp, sha256, made_by, result;
    std::uint64_t size = 0;
    stages::MediaKind media = stages::MediaKind::unknown;
    bool has_result = false, failed = false;
    bool damaged = false;         ///< nothing of it holds
    bool result_damaged = false;  ///< the file is the one that was recorded, its result is not
    std::int64_t attempts = 0;
    std::int64_t used = 0;
  };

  /// f() with the database; its errors become OutputError.
  template <class F>
  auto with_database(F f) {
    const std::lock_guard lock(mutex);
    try {
      return f();
    } catch (const sqlite::Error& error) {
      const char* advice = error.is_damage() ? "; the next run puts it aside" : "";
      throw stages::OutputError(path.string() + ": " + error.what() + advice, false);
    }
  }

  void later(std::function<void()> write) {
    const std::lock_guard lock(pending_mutex);
    pending.push_back(std::move(write));
  }

  /// The database is at hand.
  std::optional<InputRow> row(const std::filesystem::path& input) {
    find_input.bind(1, input.native());
    std::optional<InputRow> found;
    if (find_input.step()) {
      InputRow row;
      const std::int64_t size = find_input.number(1);
      const std::int64_t media = find_input.number(3);
      const std::int64_t failed = find_input.number(8);
      row.stamp = find_input.bytes(0);
      row.size = static_cast<std::uint64_t>(size);
      row.sha256 = find_input.bytes(2);
      const bool is_kind = media >= 0 && media < static_cast<std::int64_t>(kMediaKinds.size());
      if (is_kind) row.media = static_cast<stages::MediaKind>(media);
      row.damaged = !is_kind || row.sha256.size() != 64 ||
                    find_input.bytes(4) != file_row_check(input.native(), row.stamp, size, row.sha256, media);
      row.made_by = find_input.bytes(5);
      row.has_result = !find_input.is_null(6);
      row.result = find_input.bytes(6);
      row.failed = failed != 0;
      row.result_damaged =
          row.has_result && find_input.bytes(9) != result_row_check(input.native(), row.sha256, row.made_by,
                                                                    row.result, find_input.bytes(7), failed);
      row.attempts = find_input.number(10);
      row.used = find_input.number(11);
      found = std::move(row);
    }
    find_input.reset();
    return found;
  }

  bool is_stale(std::int64_t used, std::int64_t days) const { return today - used > days; }

  /// Forgets inputs that no run has named for long, and answers that no result has rested on for as long.
  void forget_unused() {
    const std::int64_t before = today - kForgottenDays;
    sqlite::Statement stale = database.prepare(
        "SELECT EXISTS(SELECT 1 FROM inputs WHERE used<?1) OR EXISTS(SELECT 1 FROM answers WHERE used<?1)");
    if (!stale.bind(1, before).step() || stale.number(0) == 0) return;
    stale.reset();
    database.run("BEGIN IMMEDIATE");
    database.prepare("DELETE FROM inputs WHERE used<?1").bind(1, before).run();
    database.run("DELETE FROM decodings WHERE path NOT IN (SELECT path FROM inputs)");
    std::set<std::string> needed;
    sqlite::Statement rests_on = database.prepare("SELECT answers FROM inputs WHERE answers IS NOT NULL");
    while (rests_on.step()) {
      const std::string keys = rests_on.bytes(0);
      for (std::size_t at = 0; at + kKeyBytes <= keys.size(); at += kKeyBytes)
        needed.insert(keys.substr(at, kKeyBytes));
    }
    std::vector<std::string> old;
    sqlite::Statement answers = database.prepare("SELECT key FROM answers WHERE used<?1");
    answers.bind(1, before);
    while (answers.step()) old.push_back(answers.bytes(0));
    sqlite::Statement forget = database.prepare("DELETE FROM answers WHERE key=?1");
    for (const std::string& key : old) {
      if (needed.contains(key)) {
        use_answer.bind(1, key).bind(2, today).run();
      } else {
        forget.bind(1, key).run();
      }
    }
    database.run("COMMIT");
    // Pages of what is gone are used again; a file that is mostly such pages shrinks.
    if (2 * database.number("PRAGMA freelist_count") > database.number("PRAGMA page_count"))
      database.run("VACUUM");
  }

  /// Entries of decodings that are forgotten are of no use to anyone.
  void open_media() {
    if (options.media.empty()) return;
    cache.emplace(options.media, MediaCache::Options{.most_bytes = graph.limits.media_cache});
    std::set<std::string> keys;
    sqlite::Statement rows = database.prepare("SELECT key FROM decodings");
    while (rows.step()) keys.insert(rows.bytes(0));
    cache->keep_only(keys);
  }

  bool uses_model(const std::vector<int>& reached) const {
    return std::any_of(reached.begin(), reached.end(),
                       [&](int stage) { return graph.stages[stage].language != nullptr; });
  }

  /// Names all that the result of an input of this kind depends on, but for its content.
  std::string made_by(stages::MediaKind media) const {
    const std::vector<int> reached = reached_stages(graph, media);
    Json json;
    json[kModelKey] = uses_model(reached) ? hex(model) : "";
    Json& stages = json[kStagesKey] = Json::object();
    for (const int stage : reached) stages[graph.stages[stage].name] = hex(fingerprints[stage]);
    return json.dump();
  }

  std::string decoding_key(const stages::InputFile& input) const {
    const std::vector<int> reached = reached_stages(graph, input.media);
    FieldHash hash("reelfolio decoding 1");
    hash.text(input.sha256).text(input.name);
    // Texts are cut by the model's tokens.
    hash.text(input.media == stages::MediaKind::text ? model : "");
    for (const int stage : reached) {
      if (graph.stages[stage].transform) hash.text(fingerprints[stage]);
    }
    return hash.finish();
  }
};

Ledger::Ledger(std::unique_ptr<State> state) : state_(std::move(state)) {}
Ledger::~Ledger() = default;

Ledger::Opened Ledger::open(const std::filesystem::path& path, const Graph& graph, const std::string& model,
                            const LedgerOptions& options) {
  const auto refuse = [&](const std::string& why) {
    throw stages::OutputError(path.string() + ": " + why, false);
  };
  if (stored_kind(path) == StoredKind::other) {
    refuse("is no ledger of reelfolio; move it away, or write to another output");
  }
  if (options.read_only) return look(path, graph, model, options);
  if (options.fresh) remove_ledger(path);
  Opened opened;
  const auto try_open = [&] {
    sqlite::Database database = open_ledger_database(path);
    const std::int64_t version = database.number("PRAGMA user_version");
    if (version > kLedgerVersion) {
      refuse("was made by a later version of reelfolio; --fresh starts over");
    }
    if (version < kLedgerVersion) throw sqlite::Error("it was made by an earlier version", 11);
    if (!has_ledger_schema(database)) throw sqlite::Error("its tables are not those of a ledger", 11);
    opened.ledger.reset(
        new Ledger(std::make_unique<State>(path, std::move(database), graph, model, options)));
  };
  try {
    try {
      try_open();
    } catch (const sqlite::Error& error) {
      if (!error.is_damage()) throw;
      const std::filesystem::path aside = path.string() + ".damaged";
      std::error_code renamed;
      std::filesystem::rename(path, aside, renamed);
      remove_ledger(path);
      opened.warning = path.string() + ": is of no use (" + error.what() + "); it is now " + aside.string() +
                       ", and everything is done again";
      try_open();
    }
  } catch (const sqlite::Error& error) {
    refuse(std::string("cannot be used: ") + error.what());
  }
  return opened;
}

Ledger::Opened Ledger::look(const std::filesystem::path& path, const Graph& graph, const std::string& model,
                            const LedgerOptions& options) {
  if (options.fresh || stored_kind(path) == StoredKind::none) return {};
  try {
    auto view = std::make_unique<LedgerView>(path);
    sqlite::Database database = view->open();
    if (database.number("PRAGMA user_version") != kLedgerVersion || !has_ledger_schema(database)) {
      return {nullptr, path.string() + ": is of another version, or not complete"};
    }
    auto state = std::make_unique<State>(path, std::move(database), graph, model, options);
    state->view = std::move(view);
    return {std::unique_ptr<Ledger>(new Ledger(std::move(state))), ""};
  } catch (const sqlite::Error& error) {
    return {nullptr, path.string() + ": cannot be read: " + error.what()};
  }
}

const std::string& Ledger::model() const {
  return state_->model;
}

std::optional<stages::InputFile> Ledger::unchanged(const ListedInput& input) {
  const std::string stamp = file_stamp(input.path);
  const auto row = state_->with_database([&] { return state_->row(input.path); });
  if (row && !row->damaged && !stamp.empty() && row->stamp == stamp) {
    stages::InputFile file;
    file.name = stages::replace_invalid_utf8(input.name);
    file.path = input.path;
    file.size_bytes = row->size;
    file.sha256 = row->sha256;
    file.media = row->media;
    return file;
  }
  const std::lock_guard lock(state_->pending_mutex);
  state_->stamps[input.path.native()] = stamp;
  return std::nullopt;
}

void Ledger::record_file(const stages::InputFile& input) {
  // What changed while it was read is read again the next time.
  std::string stamp = file_stamp(input.path);
  {
    const std::lock_guard lock(state_->pending_mutex);
    const auto before = state_->stamps.extract(input.path.native());
    if (before.empty() || before.mapped() != stamp) stamp.clear();
  }
  state_->later([state = state_.get(), input, stamp] {
    state->put_file.bind(1, input.path.native()).bind(2, stamp);
    const auto size = static_cast<std::int64_t>(input.size_bytes);
    const auto media = static_cast<std::int64_t>(input.media);
    state->put_file.bind(3, size).bind(4, input.sha256).bind(5, media);
    state->put_file.bind(6, file_row_check(input.path.native(), stamp, size, input.sha256, media));
    state->put_file.bind(7, state->today).run();
  });
}

Found Ledger::find(const stages::InputFile& input) {
  const auto row = state_->with_database([&] { return state_->row(input.path); });
  if (!row) return {std::nullopt, "new"};
  if (row->damaged) return {std::nullopt, "its record is damaged"};
  if (state_->is_stale(row->used, kNotedDays)) {
    state_->later([state = state_.get(), path = input.path.native()] {
      state->use_input.bind(1, path).bind(2, state->today).run();
    });
  }
  if (row->sha256 != input.sha256) return {std::nullopt, "its content has changed"};
  if (!row->has_result) return {std::nullopt, "begun before and not finished"};
  if (row->result_damaged) return {std::nullopt, "its record is damaged"};
  const std::string made_by = state_->made_by(input.media);
  if (row->made_by != made_by) return {std::nullopt, what_changed(row->made_by, made_by)};
  std::optional<stages::InputResult> result =
      read_result(row->result, std::make_shared<const stages::InputFile>(input));
  if (!result) return {std::nullopt, "its record cannot be read"};
  if (row->failed && state_->options.retry_failed) {
    return {std::nullopt, "failed before, in " + std::to_string(row->attempts) +
                              (row->attempts == 1 ? " attempt" : " attempts") + "; tried again"};
  }
  const bool lacked_password = std::any_of(result->errors.begin(), result->errors.end(),
                                           [](const auto& error) { return error.code == "pdf.encrypted"; });
  if (lacked_password && state_->options.has_password) return {std::nullopt, "there is a password now"};
  return {std::move(result), row->failed ? "failed before; --retry-failed tries again" : "done before"};
}

std::optional<Decoding> Ledger::decoding(const stages::InputFile& input) {
  const std::string key = state_->decoding_key(input);
  std::string events;
  const bool found = state_->with_database([&] {
    state_->find_decoding.bind(1, input.path.native());
    bool same = state_->find_decoding.step() && state_->find_decoding.bytes(0) == key;
    if (same) {
      events = state_->find_decoding.bytes(1);
      same = state_->find_decoding.bytes(2) == decoding_row_check(input.path.native(), key, events);
    }
    state_->find_decoding.reset();
    return same;
  });
  if (!found) return std::nullopt;
  std::optional<Decoding> decoding = read_decoding(events);
  if (!decoding) return std::nullopt;
  for (const Decoding::Event& event : decoding->events) {
    if (event.message.kind != stages::Message::Kind::failed) continue;
    if (state_->options.retry_failed) return std::nullopt;
    if (state_->options.has_password && event.message.code == "pdf.encrypted") return std::nullopt;
  }
  return decoding;
}

void Ledger::record_decoding(const stages::InputFile& input, const Decoding& decoding) {
  state_->later([state = state_.get(), path = input.path.native(), key = state_->decoding_key(input),
                 events = decoding_record(decoding)] {
    state->put_decoding.bind(1, path).bind(2, key).bind(3, events);
    state->put_decoding.bind(4, decoding_row_check(path, key, events)).run();
  });
}

std::unique_ptr<MediaCache::Reader> Ledger::media(const stages::InputFile& input) {
  return state_->cache ? state_->cache->reader(state_->decoding_key(input)) : nullptr;
}

std::unique_ptr<MediaCache::Writer> Ledger::record_media(const stages::InputFile& input) {
  // Without questions nobody would ask for them.
  if (!state_->cache || !state_->uses_model(reached_stages(state_->graph, input.media))) return nullptr;
  return state_->cache->writer(state_->decoding_key(input));
}

std::optional<KnownAnswer> Ledger::answer(const std::string& key) {
  std::string record;
  std::int64_t used = 0;
  const bool found = state_->with_database([&] {
    state_->find_answer.bind(1, key);
    bool has = state_->find_answer.step();
    if (has) {
      record = state_->find_answer.bytes(0);
      used = state_->find_answer.number(2);
      has = state_->find_answer.bytes(1) == answer_row_check(key, record);
    }
    state_->find_answer.reset();
    return has;
  });
  if (!found) return std::nullopt;
  if (state_->is_stale(used, kNotedDays)) {
    state_->later(
        [state = state_.get(), key] { state->use_answer.bind(1, key).bind(2, state->today).run(); });
  }
  std::optional<KnownAnswer> known = read_answer(record);
  if (known && known->refused && state_->options.retry_failed) return std::nullopt;
  return known;
}

void Ledger::record_answer(const std::string& key, const KnownAnswer& answer) {
  state_->later([state = state_.get(), key, record = answer_record(answer)] {
    state->put_answer.bind(1, key).bind(2, record).bind(3, answer_row_check(key, record));
    state->put_answer.bind(4, state->today).run();
  });
}

void Ledger::record(const stages::InputResult& result, const std::vector<std::string>& answers) {
  // What could not be opened has no content that it could be known by.
  if (result.input->sha256.empty()) return;
  std::string keys;
  for (const std::string& key : answers) keys += key;
  state_->later([state = state_.get(), path = result.input->path.native(), sha256 = result.input->sha256,
                 made_by = state_->made_by(result.input->media), record = result_record(result), keys,
                 failed = std::int64_t{!result.errors.empty()}] {
    state->put_result.bind(1, path).bind(2, made_by).bind(3, record).bind(4, keys).bind(5, failed);
    state->put_result.bind(6, result_row_check(path, sha256, made_by, record, keys, failed))
        .bind(7, sha256)
        .run();
  });
}

void Ledger::flush() {
  std::vector<std::function<void()>> writes;
  {
    const std::lock_guard lock(state_->pending_mutex);
    writes.swap(state_->pending);
  }
  if (writes.empty()) return;
  state_->with_database([&] {
    state_->database.run("BEGIN IMMEDIATE");
    for (const auto& write : writes) write();
    state_->database.run("COMMIT");
  });
}

}  // namespace reelfolio::pipeline
