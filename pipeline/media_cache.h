#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "engine/engine.h"
#include "stages/decoder/message.h"
#include "stages/descriptor.h"

namespace reelfolio::pipeline {

/// "out.jsonl" -> "out.jsonl.media", beside the file that the output's links lead to.
std::filesystem::path media_cache_path(const std::filesystem::path& output);

/// The pictures and sounds that inputs came apart into, so that new questions about them need no
/// decoding. A folder with a file for each decoded input; whoever opens it holds the output's lock.
///
/// It may be deleted at any time, in whole or in part. Nothing is synced: what a power cut leaves
/// half written shows by its checksum and is as good as absent. What goes wrong while writing (a full
/// disk, no permission) costs the entry and nothing else.
///
/// Size: entries that this run has neither made nor used make room for new ones, those that were used
/// longest ago first. Those of this run stay: a run goes over its inputs in the same order
/// as the last, so that what it has passed is needed by the next as much as what comes. An entry for which
/// there is no room is not kept, nor one that would leave less than `spare_bytes` free on the disk.
///
/// Any thread; one thread for each reader and writer, which the cache outlives.
class MediaCache {
 public:
  struct Options {
    std::uint64_t most_bytes = std::uint64_t{2} << 30;
    std::uint64_t spare_bytes = std::uint64_t{1} << 30;
  };
  class Reader;
  class Writer;

  /// Throws nothing: a folder that cannot be made keeps nothing.
  MediaCache(std::filesystem::path folder, const Options& options);

  /// Removes what a killed run left behind and all entries but those under `keys` (hashes).
  void keep_only(const std::set<std::string>& keys);

  /// Null: there is none. The entry counts as used.
  std::unique_ptr<Reader> reader(const std::string& key);
  /// Takes the place of an entry of this key, once it is kept. Null: nothing can be kept.
  std::unique_ptr<Writer> writer(const std::string& key);

  /// Of all entries.
  std::uint64_t bytes() const;

 private:
  struct Entry {
    std::uint64_t bytes = 0;
    std::int64_t used_ns = 0;  ///< the file's time, which tells one run what the last has used
    bool of_this_run = false;
  };

  bool make_room(std::uint64_t bytes);
  void give_back(std::uint64_t bytes);
  void keep(const std::string& name, std::uint64_t bytes);

  const std::filesystem::path folder_;
  const Options options_;
  mutable std::mutex mutex_;  ///< guards what follows, and the folder's names
  std::map<std::string, Entry> entries_;
  std::uint64_t bytes_ = 0;  ///< of entries and of those being written
  std::uint64_t written_ = 0;
};

/// One entry, read. Believes nothing that it reads: pictures and sounds are those whose content hash
/// (MediaHashes) is asked for, or absent.
class MediaCache::Reader {
 public:
  explicit Reader(stages::Descriptor file);

  /// Whether a picture is there and its bytes are those that were written.
  bool has_picture(const std::string& hash, const stages::PictureShape& shape) const;
  /// Null: not there, or damaged.
  std::shared_ptr<const engine::RgbImage> picture(const std::string& hash,
                                                  const stages::PictureShape& shape) const;
  std::shared_ptr<const engine::AudioClip> clip(const std::string& hash,
                                                const stages::ClipShape& shape) const;

 private:
  struct Record {
    std::uint64_t offset = 0;
    std::uint32_t stored = 0;
    std::uint32_t width = 0;   ///< pixels, or samples of a sound
    std::uint32_t height = 0;  ///< 0: a sound
    std::string check;         ///< hash of the stored bytes
  };
  const Record* find(const std::string& hash, std::uint32_t width, std::uint32_t height) const;
  std::string stored_bytes(const Record& record) const;

  stages::Descriptor file_;
  std::map<std::string, Record> records_;  ///< by content hash
};

/// One entry, being written. It is gone with this object unless it was kept.
class MediaCache::Writer {
 public:
  Writer(MediaCache& cache, std::string name, std::filesystem::path path);
  ~Writer();
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  /// hash: of the content. What was added before is not added again.
  void add(const std::string& hash, const engine::RgbImage& image);
  void add(const std::string& hash, const engine::AudioClip& clip);
  /// The input has come apart as a whole.
  void keep();

 private:
  void add(const std::string& hash, std::uint32_t width, std::uint32_t height, const std::string& stored);
  void give_up();

  MediaCache& cache_;
  std::string name_;
  std::filesystem::path path_;
  stages::Descriptor file_;  ///< none: given up, or kept
  std::set<std::string> added_;
  std::uint64_t bytes_ = 0;
};

}  // namespace reelfolio::pipeline
