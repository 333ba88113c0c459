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

  /// Throws sqlite::Error, also where the pages do not hold together.
  sqlite::Database open() const;

 private:
  /// A folder that is removed with everything in it, also where the view's constructor throws.
  struct Folder {
    Folder() = default;
    ~Folder();
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;

    std::filesystem::path path;
  };

  std::filesystem::path path_;
  Folder copy_;  ///< without a path: no copy was needed
};

}  // namespace reelfolio::pipeline
