#include "pipeline/media_cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <limits>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "pipeline/answer_key.h"
#include "pipeline/field_hash.h"
#include "pipeline/file_hash.h"
#include "pipeline/media_codec.h"
#include "stages/output_file.h"

namespace reelfolio::pipeline {

namespace {

constexpr std::string_view kMediaMagic = "reelfolio media 1\n";
constexpr std::string_view kUnfinished = ".unfinished";
constexpr std::size_t kDigestBytes = 32;

/// In front of the stored bytes of a picture or sound, in the byte order of the machine.
struct RecordHead {
  std::array<char, kDigestBytes> hash;   ///< of the content
  std::array<char, kDigestBytes> check;  ///< of the stored bytes
  std::uint32_t width;
  std::uint32_t height;
  std::uint32_t stored;
};

std::string check_of(std::string_view stored) {
  return FieldHash("stored media").text(stored).finish();
}

bool write_whole(int file, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

bool read_whole(int file, void* to, std::size_t size, std::uint64_t offset) {
  auto* at = static_cast<char*>(to);
  while (size > 0) {
    const ssize_t got = ::pread(file, at, size, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    at += got;
    size -= static_cast<std::size_t>(got);
    offset += static_cast<std::uint64_t>(got);
  }
  return true;
}

}  // namespace

std::filesystem::path media_cache_path(const std::filesystem::path& output) {
  return stages::partial_path(output).replace_extension(".media");
}

MediaCache::MediaCache(std::filesystem::path folder, const Options& options)
    : folder_(std::move(folder)), options_(options) {
  std::error_code error;
  for (auto file = std::filesystem::directory_iterator(folder_, error);
       !error && file != std::filesystem::directory_iterator(); file.increment(error)) {
    struct stat status {};
    if (lstat(file->path().c_str(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
    const auto used_ns =
        std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + std::int64_t{status.st_mtim.tv_nsec};
    const auto bytes = static_cast<std::uint64_t>(status.st_size);
    entries_.emplace(file->path().filename().string(), Entry{bytes, used_ns, false});
    bytes_ += bytes;
  }
}

void MediaCache::keep_only(const std::set<std::string>& keys) {
  std::set<std::string> names;
  for (const std::string& key : keys) names.insert(hex(key));
  const std::lock_guard lock(mutex_);
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    if (options_.most_bytes > 0 && names.contains(entry->first)) {
      ++entry;
      continue;
    }
    std::error_code ignored;
    std::filesystem::remove(folder_ / entry->first, ignored);
    bytes_ -= entry->second.bytes;
    entry = entries_.erase(entry);
  }
  std::error_code ignored;
  if (entries_.empty()) std::filesystem::remove(folder_, ignored);  // unless something else is in it
}

std::uint64_t MediaCache::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

std::unique_ptr<MediaCache::Reader> MediaCache::reader(const std::string& key) {
  const std::string name = hex(key);
  const std::lock_guard lock(mutex_);
  const auto entry = entries_.find(name);
  if (entry == entries_.end()) return nullptr;
  stages::Descriptor file(::open((folder_ / name).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file) return nullptr;
  entry->second.of_this_run = true;
  [[maybe_unused]] const int ignored = futimens(file.get(), nullptr);  // it is no worse for an older time
  return std::make_unique<Reader>(std::move(file));
}

std::unique_ptr<MediaCache::Writer> MediaCache::writer(const std::string& key) {
  if (options_.most_bytes == 0) return nullptr;
  const std::string name = hex(key);
  const std::lock_guard lock(mutex_);
  std::error_code ignored;
  std::filesystem::create_directory(folder_, ignored);
  // Numbered, as an input may be named twice.
  const std::string unfinished = name + "." + std::to_string(++written_) + std::string(kUnfinished);
  return std::make_unique<Writer>(*this, name, folder_ / unfinished);
}

/// False: so much more does not fit.
bool MediaCache::make_room(std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  std::error_code error;
  const std::filesystem::space_info disk = std::filesystem::space(folder_, error);
  if (error || disk.available < options_.spare_bytes + bytes) return false;
  while (bytes_ + bytes > options_.most_bytes) {
    auto oldest = entries_.end();
    for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
      if (entry->second.of_this_run) continue;
      if (oldest == entries_.end() || entry->second.used_ns < oldest->second.used_ns) oldest = entry;
    }
    if (oldest == entries_.end()) return false;
    std::filesystem::remove(folder_ / oldest->first, error);
    bytes_ -= oldest->second.bytes;
    entries_.erase(oldest);
  }
  bytes_ += bytes;
  return true;
}

void MediaCache::give_back(std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  bytes_ -= bytes;
}

void MediaCache::keep(const std::string& name, std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  Entry& entry = entries_[name];
  bytes_ -= entry.bytes;
  entry = {bytes, std::numeric_limits<std::int64_t>::max(), true};
}

MediaCache::Reader::Reader(stages::Descriptor file) : file_(std::move(file)) {
  struct stat status {};
  if (fstat(file_.get(), &status) != 0) return;
  const auto size = static_cast<std::uint64_t>(status.st_size);
  std::string magic(kMediaMagic.size(), '\0');
  if (!read_whole(file_.get(), magic.data(), magic.size(), 0) || magic != kMediaMagic) return;
  std::uint64_t offset = magic.size();
  while (offset < size) {
    RecordHead head{};
    if (!read_whole(file_.get(), &head, sizeof head, offset)) return;
    offset += sizeof head;
    if (head.stored > size - offset) return;
    records_.emplace(std::string(head.hash.data(), head.hash.size()),
                     Record{offset, head.stored, head.width, head.height,
                            std::string(head.check.data(), head.check.size())});
    offset += head.stored;
  }
}

const MediaCache::Reader::Record* MediaCache::Reader::find(const std::string& hash, std::uint32_t width,
                                                           std::uint32_t height) const {
  const auto found = records_.find(hash);
  if (found == records_.end()) return nullptr;
  const Record& record = found->second;
  return record.width == width && record.height == height ? &record : nullptr;
}

/// Empty: they are not those that were written.
std::string MediaCache::Reader::stored_bytes(const Record& record) const {
  std::string stored(record.stored, '\0');
  const bool intact = read_whole(file_.get(), stored.data(), stored.size(), record.offset) &&
                      check_of(stored) == record.check;
  return intact ? stored : std::string();
}

bool MediaCache::Reader::has_picture(const std::string& hash, const stages::PictureShape& shape) const {
  const Record* record =
      find(hash, static_cast<std::uint32_t>(shape.width), static_cast<std::uint32_t>(shape.height));
  return record != nullptr && !stored_bytes(*record).empty();
}

std::shared_ptr<const engine::RgbImage> MediaCache::Reader::picture(const std::string& hash,
                                                                    const stages::PictureShape& shape) const {
  const Record* record =
      find(hash, static_cast<std::uint32_t>(shape.width), static_cast<std::uint32_t>(shape.height));
  const std::string stored = record != nullptr ? stored_bytes(*record) : std::string();
  if (stored.empty()) return nullptr;
  auto image = std::make_shared<engine::RgbImage>();
  image->width = shape.width;
  image->height = shape.height;
  image->pixels = unpack_picture(stored, shape.width, shape.height);
  return MediaHashes().of(std::shared_ptr<const engine::RgbImage>(image)) == hash ? image : nullptr;
}

std::shared_ptr<const engine::AudioClip> MediaCache::Reader::clip(const std::string& hash,
                                                                  const stages::ClipShape& shape) const {
  const Record* record = find(hash, shape.samples, 0);
  const std::string stored = record != nullptr ? stored_bytes(*record) : std::string();
  if (stored.empty()) return nullptr;
  auto clip = std::make_shared<engine::AudioClip>();
  clip->samples = unpack_samples(stored, shape.samples);
  return MediaHashes().of(std::shared_ptr<const engine::AudioClip>(clip)) == hash ? clip : nullptr;
}

MediaCache::Writer::Writer(MediaCache& cache, std::string name, std::filesystem::path path)
    : cache_(cache), name_(std::move(name)), path_(std::move(path)) {}

MediaCache::Writer::~Writer() {
  give_up();
}

void MediaCache::Writer::add(const std::string& hash, const engine::RgbImage& image) {
  if (path_.empty() || added_.contains(hash)) return;
  add(hash, static_cast<std::uint32_t>(image.width), static_cast<std::uint32_t>(image.height),
      pack_picture(image.pixels, image.width, image.height));
}

void MediaCache::Writer::add(const std::string& hash, const engine::AudioClip& clip) {
  if (path_.empty() || added_.contains(hash)) return;
  add(hash, static_cast<std::uint32_t>(clip.samples.size()), 0, pack_samples(clip.samples));
}

void MediaCache::Writer::add(const std::string& hash, std::uint32_t width, std::uint32_t height,
                             const std::string& stored) {
  RecordHead head{};
  if (hash.size() != head.hash.size() || stored.size() > std::numeric_limits<std::uint32_t>::max()) {
    return give_up();
  }
  const std::string check = check_of(stored);
  std::copy(hash.begin(), hash.end(), head.hash.begin());
  std::copy(check.begin(), check.end(), head.check.begin());
  head.width = width;
  head.height = height;
  head.stored = static_cast<std::uint32_t>(stored.size());
  std::string bytes;
  // The file is made with the first thing that it holds: many inputs have none.
  const bool is_first = !file_;
  if (is_first) bytes = kMediaMagic;
  bytes.append(reinterpret_cast<const char*>(&head), sizeof head);
  if (!cache_.make_room(bytes.size() + stored.size())) return give_up();
  bytes_ += bytes.size() + stored.size();
  if (is_first) {
    constexpr int kFlags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW;
    file_ = stages::Descriptor(::open(path_.c_str(), kFlags, 0666));
  }
  if (!file_ || !write_whole(file_.get(), bytes) || !write_whole(file_.get(), stored)) return give_up();
  added_.insert(hash);
}

void MediaCache::Writer::keep() {
  if (!file_) return;
  const std::filesystem::path kept = path_.parent_path() / name_;
  if (std::rename(path_.c_str(), kept.c_str()) != 0) return give_up();
  file_.reset();
  path_.clear();
  cache_.keep(name_, std::exchange(bytes_, 0));
}

void MediaCache::Writer::give_up() {
  if (file_) unlink(path_.c_str());
  file_.reset();
  path_.clear();
  cache_.give_back(std::exchange(bytes_, 0));
}

}  // namespace reelfolio::pipeline
