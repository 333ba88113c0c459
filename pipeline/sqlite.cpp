#include "pipeline/sqlite.h"

#include <sqlite3.h>

namespace reelfolio::pipeline::sqlite {

namespace {

/// SQLite's message names no cause where the system refused; the system's does.
[[noreturn]] void fail(sqlite3* database, int code) {
  const int primary = code & 0xFF;
  std::string message = sqlite3_errstr(code);
  if (database != nullptr && sqlite3_errcode(database) == primary) message = sqlite3_errmsg(database);
  if (primary == SQLITE_FULL) message = "no space left on device";
  throw Error(message, primary);
}

void check(sqlite3* database, int code) {
  if (code != SQLITE_OK) fail(database, code);
}

}  // namespace

bool Error::is_damage() const {
  return code == SQLITE_CORRUPT || code == SQLITE_NOTADB;
}

void Database::Closer::operator()(sqlite3* database) const {
  sqlite3_close_v2(database);
}

void Statement::Finalizer::operator()(sqlite3_stmt* statement) const {
  sqlite3_finalize(statement);
}

Database::Database(const std::filesystem::path& path) {
  sqlite3* opened = nullptr;
  // The file's name, not a URI that could name options.
  const int code = sqlite3_open_v2(path.c_str(), &opened,
                                   SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  handle_.reset(opened);
  check(opened, code);
  sqlite3_busy_timeout(opened, 1000);
  distrust();
  // Exclusive: the index of the write-ahead log stays in memory, so no file has to be shared, and
  // network file systems will do.
  run("PRAGMA locking_mode=EXCLUSIVE");
  run("PRAGMA journal_mode=WAL");
  // A commit is on the disk when it returns.
  run("PRAGMA synchronous=FULL");
}

Database Database::unchanging(const std::filesystem::path& path) {
  std::string uri = "file:";
  for (const char c : path.native()) {
    if (c == '%' || c == '?' || c == '#') {
      constexpr std::string_view kDigits = "0123456789ABCDEF";
      uri += '%';
      uri += kDigits[static_cast<unsigned char>(c) >> 4U];
      uri += kDigits[static_cast<unsigned char>(c) & 0xFU];
    } else {
      uri += c;
    }
  }
  uri += "?immutable=1";
  sqlite3* opened = nullptr;
  const int code = sqlite3_open_v2(uri.c_str(), &opened,
                                   SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX, nullptr);
  Database database;
  database.handle_.reset(opened);
  check(opened, code);
  database.distrust();
  return database;
}

void Database::distrust() {
  sqlite3* database = handle_.get();
  sqlite3_db_config(database, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(database, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  sqlite3_db_config(database, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, nullptr);
  sqlite3_db_config(database, SQLITE_DBCONFIG_ENABLE_VIEW, 0, nullptr);
  sqlite3_limit(database, SQLITE_LIMIT_LENGTH, 1 << 30);
  run("PRAGMA cell_size_check=ON");
}

void Database::run(const std::string& sql) {
  check(handle_.get(), sqlite3_exec(handle_.get(), sql.c_str(), nullptr, nullptr, nullptr));
}

Statement Database::prepare(std::string_view sql) {
  sqlite3_stmt* made = nullptr;
  check(handle_.get(), sqlite3_prepare_v3(handle_.get(), sql.data(), static_cast<int>(sql.size()),
                                          SQLITE_PREPARE_PERSISTENT, &made, nullptr));
  Statement statement;
  statement.handle_.reset(made);
  return statement;
}

std::int64_t Database::number(const std::string& sql) {
  Statement statement = prepare(sql);
  return statement.step() ? statement.number(0) : 0;
}

Statement& Statement::bind(int index, std::int64_t value) {
  check(sqlite3_db_handle(handle_.get()), sqlite3_bind_int64(handle_.get(), index, value));
  return *this;
}

Statement& Statement::bind(int index, std::string_view bytes) {
  // A null pointer would bind NULL.
  const char* data = bytes.data() != nullptr ? bytes.data() : "";
  check(sqlite3_db_handle(handle_.get()),
        sqlite3_bind_blob64(handle_.get(), index, data, bytes.size(), SQLITE_TRANSIENT));
  return *this;
}

Statement& Statement::bind_null(int index) {
  check(sqlite3_db_handle(handle_.get()), sqlite3_bind_null(handle_.get(), index));
  return *this;
}

bool Statement::step() {
  const int code = sqlite3_step(handle_.get());
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) {
    sqlite3* database = sqlite3_db_handle(handle_.get());
    const int extended = sqlite3_extended_errcode(database);
    sqlite3_reset(handle_.get());
    fail(database, extended != SQLITE_OK ? extended : code);
  }
  return false;
}

void Statement::run() {
  step();
  reset();
}

void Statement::reset() {
  sqlite3_reset(handle_.get());
  sqlite3_clear_bindings(handle_.get());
}

std::int64_t Statement::number(int column) const {
  return sqlite3_column_int64(handle_.get(), column);
}

std::string Statement::bytes(int column) const {
  const void* data = sqlite3_column_blob(handle_.get(), column);
  const int size = sqlite3_column_bytes(handle_.get(), column);
  return data != nullptr ? std::string(static_cast<const char*>(data), static_cast<std::size_t>(size)) : "";
}

bool Statement::is_null(int column) const {
  return sqlite3_column_type(handle_.get(), column) == SQLITE_NULL;
}

}  // namespace reelfolio::pipeline::sqlite
