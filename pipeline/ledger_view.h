#pragma once

#include <filesystem>

#include "pipeline/sqlite.h"

namespace reelfolio::pipeline {

/// A ledger to look at, in whose folder nothing is written. Owns a copy of it where one is needed; the
/// database that `open` gives must not outlive it. One thread at a time.
class LedgerView {
 public:
  /// Nobody writes the ledger meanwhile. Throws sqlite::Error.
  explicit LedgerView(const std::filesystem::path& path);
  ~LedgerView();
  LedgerView(const LedgerView&) = delete;
  LedgerView& operator=(const LedgerView&) = delete;

  /// Throws sqlite::Error, also where the pages do not hold together.
  sqlite::Database open() const;

 private:
  std::filesystem::path path_;
  std::filesystem::path copy_;  ///< a folder; empty: no copy was needed
};

}  // namespace reelfolio::pipeline
