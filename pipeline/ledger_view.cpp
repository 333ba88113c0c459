#include "pipeline/ledger_view.h"

#include <cstdlib>
#include <string>
#include <system_error>

#include "pipeline/ledger_database.h"

namespace reelfolio::pipeline {

LedgerView::LedgerView(const std::filesystem::path& path) : path_(path) {
  // What a killed run has left in the log can be read only by writing, so that is done to a copy.
  std::error_code error;
  const std::filesystem::path log = path.string() + "-wal";
  if (const auto size = std::filesystem::file_size(log, error); error || size == 0) return;
  std::string name = (std::filesystem::temp_directory_path() / "reelfolio-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) throw sqlite::Error("no folder for a copy can be made", 14);
  copy_ = name;
  std::filesystem::copy_file(path, copy_ / "ledger", error);
  if (!error) std::filesystem::copy_file(log, copy_ / "ledger-wal", error);
  if (error) throw sqlite::Error("cannot be copied: " + error.message(), 14);
}

LedgerView::~LedgerView() {
  std::error_code ignored;
  if (!copy_.empty()) std::filesystem::remove_all(copy_, ignored);
}

sqlite::Database LedgerView::open() const {
  sqlite::Database database =
      copy_.empty() ? sqlite::Database::unchanging(path_) : sqlite::Database(copy_ / "ledger");
  check_structure(database);
  return database;
}

}  // namespace reelfolio::pipeline
