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
  copy_.path = name;
  std::filesystem::copy_file(path, copy_.path / "ledger", error);
  if (!error) std::filesystem::copy_file(log, copy_.path / "ledger-wal", error);
  if (error) throw sqlite::Error("cannot be copied: " + error.message(), 14);
}

LedgerView::Folder::~Folder() {
  std::error_code ignored;
  if (!path.empty()) std::filesystem::remove_all(path, ignored);
}

sqlite::Database LedgerView::open() const {
  sqlite::Database database =
      copy_.path.empty() ? sqlite::Database::unchanging(path_) : sqlite::Database(copy_.path / "ledger");
  check_structure(database);
  return database;
}

}  // namespace reelfolio::pipeline
