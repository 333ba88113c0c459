#include "pipeline/ledger_database.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace reelfolio::pipeline {

namespace {

/// "rflo": in the header of every ledger, where `file` and SQLite look for it.
constexpr std::int64_t kApplicationId = 0x72666C6F;

// Without row ids each table is one tree: there is no index that damage could set against its table.
constexpr std::array<const char*, 3> kSchema = {
    "CREATE TABLE inputs(path BLOB PRIMARY KEY NOT NULL, stamp BLOB, size INTEGER NOT NULL, sha256 BLOB NOT "
    "NULL,"
    " media INTEGER NOT NULL, file_check BLOB NOT NULL, made_by BLOB, result BLOB, answers BLOB,"
    " failed INTEGER NOT NULL DEFAULT 0, result_check BLOB, attempts INTEGER NOT NULL DEFAULT 0,"
    " used INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE decodings(path BLOB PRIMARY KEY NOT NULL, key BLOB NOT NULL, events BLOB NOT NULL,"
    " row_check BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE answers(key BLOB PRIMARY KEY NOT NULL, answer BLOB NOT NULL, row_check BLOB NOT NULL,"
    " used INTEGER NOT NULL) WITHOUT ROWID"};

/// The names of the files survive a power cut as well as their contents.
void sync_folder(const std::filesystem::path& path) {
  const std::filesystem::path folder = path.parent_path().empty() ? "." : path.parent_path();
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  [[maybe_unused]] const int ignored = fsync(descriptor);  // some network file systems refuse
  close(descriptor);
}

}  // namespace

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

void remove_ledger(const std::filesystem::path& path) {
  for (const char* suffix : {"", "-wal", "-shm", "-journal"}) {
    std::error_code ignored;
    std::filesystem::remove(path.string() + suffix, ignored);
  }
}

void check_structure(sqlite::Database& database) {
  sqlite::Statement check = database.prepare("PRAGMA quick_check(1)");
  if (!check.step() || check.bytes(0) != "ok") throw sqlite::Error("a check of the database fails", 11);
}

sqlite::Database open_ledger_database(const std::filesystem::path& path) {
  sqlite::Database database(path);
  if (database.number("PRAGMA application_id") == 0 &&
      database.number("SELECT count(*) FROM sqlite_master") == 0) {
    std::string all = "BEGIN IMMEDIATE;";
    for (const char* table : kSchema) all += std::string(table) + ";";
    all += "PRAGMA application_id=" + std::to_string(kApplicationId) + ";";
    all += "PRAGMA user_version=" + std::to_string(kLedgerVersion) + ";COMMIT";
    database.run(all);
    sync_folder(path);
    return database;
  }
  check_structure(database);
  return database;
}

bool has_ledger_schema(sqlite::Database& database) {
  std::vector<std::string> tables;
  sqlite::Statement rows = database.prepare("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL");
  while (rows.step()) tables.push_back(rows.bytes(0));
  return tables.size() == kSchema.size() &&
         std::all_of(kSchema.begin(), kSchema.end(), [&](const char* table) {
           return std::find(tables.begin(), tables.end(), table) != tables.end();
         });
}

}  // namespace reelfolio::pipeline
