#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "pipeline/graph.h"
#include "pipeline/history.h"

namespace reelfolio::pipeline {

struct LedgerOptions {
  bool fresh = false;                 ///< forget everything first
  bool retry_failed = false;          ///< inputs with errors, and refused requests, are done again
  bool has_password = false;          ///< encrypted files are tried again
  bool read_only = false;             ///< nothing is written; a ledger that cannot be read is as good as none
  std::optional<std::int64_t> day{};  ///< since 1970-01-01; absent: the clock's
  std::filesystem::path media{};      ///< folder of the cache of pictures and sounds; empty: there is none
};

/// "out.jsonl" -> "out.jsonl.ledger", beside the file that the output's links lead to.
std::filesystem::path ledger_path(const std::filesystem::path& output);

/// The memory of an output: what its runs have done, in an SQLite database beside it. Who opens it
/// holds the output's lock.
///
/// Three things are kept, each for as long as what it depends on is the same:
///   results    of an input under its content, the stages that it reaches and the model
///   decodings  how an input came apart, under its content and the transforms that it reaches
///   answers    of the model, under the request as the model sees it
/// So a changed prompt asks the questions that it changes; a changed detector decodes again, and asks
/// about the pictures that it had not come up with before. The pictures and sounds themselves stand in
/// a cache (media_cache.h), which may lack any of them; decoding makes them again.
///
/// A file's content is taken to be the same while size, modification time, change time, device and
/// inode are, and the change was not within the clock's resolution of the hashing.
///
/// Each record has a checksum: one that is damaged counts as absent, so that what it told is done again.
/// Inputs that no run has named for 90 days are forgotten, and answers that no result has rested on for as
/// long.
///
/// Records gather in memory until `flush`, which commits them as one transaction. Any thread.
class Ledger final : public History {
 public:
  struct Opened {
    std::unique_ptr<Ledger> ledger;  ///< read_only: null where there is none, or it cannot be read
    std::string warning{};           ///< a damaged ledger was put aside, or not read; empty: all is well
  };
  /// model: fingerprint of the model and type of its weights; empty where none is used.
  /// Throws stages::OutputError where the ledger cannot be used: it cannot be written, is some other
  /// file, or of a later version.
  static Opened open(const std::filesystem::path& path, const Graph& graph, const std::string& model,
                     const LedgerOptions& options);
  ~Ledger() override;

  std::optional<stages::InputFile> unchanged(const ListedInput& input) override;
  void record_file(const stages::InputFile& input) override;
  Found find(const stages::InputFile& input) override;
  std::optional<Decoding> decoding(const stages::InputFile& input) override;
  void record_decoding(const stages::InputFile& input, const Decoding& decoding) override;
  std::unique_ptr<MediaCache::Reader> media(const stages::InputFile& input) override;
  std::unique_ptr<MediaCache::Writer> record_media(const stages::InputFile& input) override;
  std::optional<KnownAnswer> answer(const std::string& key) override;
  void record_answer(const std::string& key, const KnownAnswer& answer) override;
  const std::string& model() const override;
  void record(const stages::InputResult& result, const std::vector<std::string>& answers) override;
  void flush() override;

 private:
  struct State;
  explicit Ledger(std::unique_ptr<State> state);
  static Opened look(const std::filesystem::path& path, const Graph& graph, const std::string& model,
                     const LedgerOptions& options);
  std::unique_ptr<State> state_;
};

}  // namespace reelfolio::pipeline
