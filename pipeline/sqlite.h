#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

struct sqlite3;
struct sqlite3_stmt;

/// The little of SQLite that is used here. One thread at a time for a database and its statements.
namespace reelfolio::pipeline::sqlite {

/// `code` is SQLite's primary result code.
class Error : public std::runtime_error {
 public:
  Error(const std::string& message, int code_) : std::runtime_error(message), code(code_) {}
  int code;

  /// The file is no database, or a damaged one.
  bool is_damage() const;
};

class Statement;

class Database {
 public:
  /// Opens, or makes, a database in write-ahead mode, for this process alone. The file is untrusted:
  /// nothing in its schema is run. Throws Error.
  explicit Database(const std::filesystem::path& path);
  /// One to read that nobody writes meanwhile. Neither it nor its folder is touched; what stands in a
  /// write-ahead log beside it is not seen. Throws Error.
  static Database unchanging(const std::filesystem::path& path);

  void run(const std::string& sql);
  Statement prepare(std::string_view sql);
  /// The first column of the first row; 0 without one.
  std::int64_t number(const std::string& sql);

 private:
  Database() = default;
  void distrust();

  struct Closer {
    void operator()(sqlite3* database) const;
  };
  std::unique_ptr<sqlite3, Closer> handle_;
};

/// Parameters are numbered from 1, columns from 0.
class Statement {
 public:
  Statement& bind(int index, std::int64_t value);
  Statement& bind(int index, std::string_view bytes);
  Statement& bind_null(int index);
  /// True: there is a row.
  bool step();
  /// step() for statements without rows, ready for the next use.
  void run();
  void reset();

  std::int64_t number(int column) const;
  /// Empty for NULL.
  std::string bytes(int column) const;
  bool is_null(int column) const;

 private:
  friend class Database;
  struct Finalizer {
    void operator()(sqlite3_stmt* statement) const;
  };
  std::unique_ptr<sqlite3_stmt, Finalizer> handle_;
};

}  // namespace reelfolio::pipeline::sqlite
