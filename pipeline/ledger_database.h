#pragma once

#include <cstdint>
#include <filesystem>

#include "pipeline/sqlite.h"

/// The database file of a ledger (ledger.h): what it is told by, and which tables it has.
namespace reelfolio::pipeline {

/// PRAGMA user_version of the ledgers that this version makes and reads.
inline constexpr std::int64_t kLedgerVersion = 2;

/// What a file under the ledger's name is, told from its first bytes.
enum class StoredKind { none, ledger, other };
StoredKind stored_kind(const std::filesystem::path& path);

/// Removes the database and what SQLite keeps beside it, as far as they are there.
void remove_ledger(const std::filesystem::path& path);

/// A database with the ledger's tables and nothing else; one that is there is opened as it is, whatever its
/// tables. Throws sqlite::Error, also where its pages do not hold together.
sqlite::Database open_ledger_database(const std::filesystem::path& path);

/// Throws sqlite::Error where the pages of a database do not hold together.
void check_structure(sqlite::Database& database);

/// Whether the tables are as this version makes them. Throws sqlite::Error.
bool has_ledger_schema(sqlite::Database& database);

}  // namespace reelfolio::pipeline
