#include "pipeline/ledger.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <fstream>
#include <functional>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

#include "pipeline/field_hash.h"
#include "pipeline/fingerprints.h"
#include "pipeline/ledger_records.h"
#include "pipeline/names.h"
#include "pipeline/scheduler.h"
#include "pipeline/sqlite.h"
#include "stages/utf8.h"
#include "stages/write_jsonl.h"

namespace reelfolio::pipeline {

namespace {

using stages::Json;

/// "rflo": in the header of every ledger, where `file` and SQLite look for it.
constexpr std::int64_t kApplicationId = 0x72666C6F;
constexpr std::int64_t kVersion = 1;
/// File systems and kernels keep times no finer than this.
constexpr std::int64_t kClockResolutionNs = 2'000'000'000;
constexpr std::array kMediaKinds = {stages::MediaKind::video, stages::MediaKind::pdf,
                                    stages::MediaKind::image, stages::MediaKind::audio,
                                    stages::MediaKind::text,  stages::MediaKind::unknown};

constexpr std::array<const char*, 3> kSchema = {
    "CREATE TABLE inputs(path BLOB PRIMARY KEY NOT NULL, stamp BLOB, size INTEGER NOT NULL, sha256 BLOB NOT "
    "NULL,"
    " media INTEGER NOT NULL, made_by BLOB, result BLOB, failed INTEGER NOT NULL DEFAULT 0,"
    " attempts INTEGER NOT NULL DEFAULT 0)",
    "CREATE TABLE decodings(path BLOB PRIMARY KEY NOT NULL, key BLOB NOT NULL, events BLOB NOT NULL)",
    "CREATE TABLE answers(key BLOB PRIMARY KEY NOT NULL, answer BLOB NOT NULL) WITHOUT ROWID"};

std::string hex(std::string_view bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const char byte : bytes) {
    text += kDigits[static_cast<unsigned char>(byte) >> 4U];
    text += kDigits[static_cast<unsigned char>(byte) & 0xFU];
  }
  return text;
}

std::int64_t nanoseconds(const timespec& time) {
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

/// What changes with a file, as text; empty where the file cannot be told from one that is being
/// written just now.
std::string file_stamp(const std::filesystem::path& path) {
  struct stat status {};
  if (stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return {};
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  const std::int64_t newest = std::max(nanoseconds(status.st_mtim), nanoseconds(status.st_ctim));
  if (nanoseconds(now) - newest < kClockResolutionNs) return {};
  std::string stamp;
  for (const std::int64_t part :
       {static_cast<std::int64_t>(status.st_size), nanoseconds(status.st_mtim), nanoseconds(status.st_ctim),
        static_cast<std::int64_t>(status.st_dev), static_cast<std::int64_t>(status.st_ino)}) {
    stamp += std::to_string(part) + " ";
  }
  return stamp;
}

/// What a file under the ledger's name is, told from its first bytes.
enum class StoredKind { none, ledger, other };

StoredKind stored_kind(const std::filesystem::path& path) {
  std::error_code error;
  const auto status = std::filesystem::symlink_status(path, error);
  if (!std::filesystem::exists(status)) return StoredKind::none;
  if (!std::filesystem::is_regular_file(status)) return StoredKind::other;
  std::string head(72, '\0');
  std::ifstream file(path, std::ios::binary);
  file.read(head.data(), static_cast<std::streamsize>(head.size()));
  if (file.gcount() == 0) return StoredKind::none;  // killed before anything was written
  constexpr std::string_view kMagic("SQLite format 3\0", 16);
  if (!head.starts_with(kMagic)) return StoredKind::other;
  std::int64_t id = 0;
  for (std::size_t i = 68; i < 72; ++i) id = id << 8 | static_cast<unsigned char>(head[i]);
  // The id of a ledger that was never completed is still 0.
  return id == kApplicationId || id == 0 ? StoredKind::ledger : StoredKind::other;
}

void remove_with_log(const std::filesystem::path& path) {
  for (const char* suffix : {"", "-wal", "-shm", "-journal"}) {
    std::error_code ignored;
    std::filesystem::remove(path.string() + suffix, ignored);
  }
}

/// The names of the files survive a power cut as well as their contents.
void sync_folder(const std::filesystem::path& path) {
  const std::filesystem::path folder = path.parent_path().empty() ? "." : path.parent_path();
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  [[maybe_unused]] const int ignored = fsync(descriptor);  // some network file systems refuse
  close(descriptor);
}

/// A database with the ledger's tables and nothing else. Throws sqlite::Error.
sqlite::Database open_database(const std::filesystem::path& path) {
  sqlite::Database database(path);
  if (database.number("PRAGMA application_id") == 0 &&
      database.number("SELECT count(*) FROM sqlite_master") == 0) {
    std::string all = "BEGIN IMMEDIATE;";
    for (const char* table : kSchema) all += std::string(table) + ";";
    all += "PRAGMA application_id=" + std::to_string(kApplicationId) + ";";
    all += "PRAGMA user_version=" + std::to_string(kVersion) + ";COMMIT";
    database.run(all);
    sync_folder(path);
    return database;
  }
  sqlite::Statement check = database.prepare("PRAGMA quick_check(1)");
  if (!check.step() || check.bytes(0) != "ok") throw sqlite::Error("a check of the database fails", 11);
  return database;
}

/// Whether the tables are as this version makes them.
bool has_schema(sqlite::Database& database) {
  std::vector<std::string> tables;
  sqlite::Statement rows = database.prepare("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL");
  while (rows.step()) tables.push_back(rows.bytes(0));
  return tables.size() == kSchema.size() &&
         std::all_of(kSchema.begin(), kSchema.end(), [&](const char* table) {
           return std::find(tables.begin(), tables.end(), table) != tables.end();
         });
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
        find_input(database.prepare("SELECT stamp, size, sha256, media, made_by, result, failed, attempts "
                                    "FROM inputs WHERE path=?1")),
        find_decoding(database.prepare("SELECT key, events FROM decodings WHERE path=?1")),
        find_answer(database.prepare("SELECT answer FROM answers WHERE key=?1")),
        put_file(database.prepare(
            "INSERT INTO inputs(path, stamp, size, sha256, media) VALUES(?1, ?2, ?3, ?4, ?5)"
            " ON CONFLICT(path) DO UPDATE SET stamp=?2, size=?3, media=?5,"
            " attempts=iif(sha256=?4, attempts, 0), result=iif(sha256=?4, result, NULL), sha256=?4")),
        put_result(database.prepare("UPDATE inputs SET made_by=?2, result=?3, failed=?4, attempts=attempts+1"
                                    " WHERE path=?1 AND sha256=?5")),
        put_decoding(
            database.prepare("INSERT OR REPLACE INTO decodings(path, key, events) VALUES(?1, ?2, ?3)")),
        put_answer(database.prepare("INSERT OR REPLACE INTO answers(key, answer) VALUES(?1, ?2)")) {
    open_media();
  }

  const std::filesystem::path path;
  std::mutex mutex;  ///< guards the database and its statements
  sqlite::Database database;
  const Graph& graph;
  const std::string model;
  const LedgerOptions options;
  const std::vector<std::string> fingerprints;
  sqlite::Statement find_input, find_decoding, find_answer;
  sqlite::Statement put_file, put_result, put_decoding, put_answer;

  std::optional<MediaCache> cache;

  std::mutex pending_mutex;  ///< guards what follows; never waits for the disk
  std::vector<std::function<void()>> pending;
  std::map<std::string, std::string> stamps;  ///< of files being hashed, from before, by path

  struct InputRow {
    std::string stamp, sha256, made_by, result;
    std::uint64_t size = 0;
    stages::MediaKind media = stages::MediaKind::unknown;
    bool has_result = false, failed = false;
    std::int64_t attempts = 0;
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
      const auto media = find_input.number(3);
      InputRow row;
      row.stamp = find_input.bytes(0);
      row.size = static_cast<std::uint64_t>(find_input.number(1));
      row.sha256 = find_input.bytes(2);
      row.made_by = find_input.bytes(4);
      row.has_result = !find_input.is_null(5);
      row.result = find_input.bytes(5);
      row.failed = find_input.number(6) != 0;
      row.attempts = find_input.number(7);
      const bool is_kind = media >= 0 && media < static_cast<std::int64_t>(kMediaKinds.size());
      if (is_kind && row.sha256.size() == 64) {
        row.media = static_cast<stages::MediaKind>(media);
        found = std::move(row);
      }
    }
    find_input.reset();
    return found;
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
  if (options.fresh) remove_with_log(path);
  Opened opened;
  const auto try_open = [&] {
    sqlite::Database database = open_database(path);
    const std::int64_t version = database.number("PRAGMA user_version");
    if (version > kVersion) {
      refuse("was made by a later version of reelfolio; --fresh starts over");
    }
    if (!has_schema(database)) throw sqlite::Error("its tables are not those of a ledger", 11);
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
      remove_with_log(path);
      opened.warning = path.string() + ": is damaged (" + error.what() + "); it is now " + aside.string() +
                       ", and everything is done again";
      try_open();
    }
  } catch (const sqlite::Error& error) {
    refuse(std::string("cannot be used: ") + error.what());
  }
  return opened;
}

const std::string& Ledger::model() const {
  return state_->model;
}

std::optional<stages::InputFile> Ledger::unchanged(const ListedInput& input) {
  const std::string stamp = file_stamp(input.path);
  const auto row = state_->with_database([&] { return state_->row(input.path); });
  if (row && !stamp.empty() && row->stamp == stamp) {
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
    state->put_file.bind(3, static_cast<std::int64_t>(input.size_bytes)).bind(4, input.sha256);
    state->put_file.bind(5, static_cast<std::int64_t>(input.media)).run();
  });
}

Found Ledger::find(const stages::InputFile& input) {
  const auto row = state_->with_database([&] { return state_->row(input.path); });
  if (!row) return {std::nullopt, "new"};
  if (row->sha256 != input.sha256) return {std::nullopt, "its content has changed"};
  if (!row->has_result) return {std::nullopt, "begun before and not finished"};
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
    const bool same = state_->find_decoding.step() && state_->find_decoding.bytes(0) == key;
    if (same) events = state_->find_decoding.bytes(1);
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
    state->put_decoding.bind(1, path).bind(2, key).bind(3, events).run();
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
  const bool found = state_->with_database([&] {
    state_->find_answer.bind(1, key);
    const bool has = state_->find_answer.step();
    if (has) record = state_->find_answer.bytes(0);
    state_->find_answer.reset();
    return has;
  });
  if (!found) return std::nullopt;
  std::optional<KnownAnswer> known = read_answer(record);
  if (known && known->refused && state_->options.retry_failed) return std::nullopt;
  return known;
}

void Ledger::record_answer(const std::string& key, const KnownAnswer& answer) {
  state_->later([state = state_.get(), key, record = answer_record(answer)] {
    state->put_answer.bind(1, key).bind(2, record).run();
  });
}

void Ledger::record(const stages::InputResult& result) {
  // What could not be opened has no content that it could be known by.
  if (result.input->sha256.empty()) return;
  state_->later([state = state_.get(), path = result.input->path.native(), sha256 = result.input->sha256,
                 made_by = state_->made_by(result.input->media), record = result_record(result),
                 failed = !result.errors.empty()] {
    state->put_result.bind(1, path).bind(2, made_by).bind(3, record);
    state->put_result.bind(4, std::int64_t{failed}).bind(5, sha256).run();
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
