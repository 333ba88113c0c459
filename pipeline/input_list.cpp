#include "pipeline/input_list.h"

#include <dirent.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <istream>
#include <iterator>
#include <memory>
#include <unordered_set>
#include <utility>

#include "pipeline/file_hash.h"
#include "stages/system_message.h"
#include "stages/utf8.h"

namespace reelfolio::pipeline {

namespace {

enum class FileKind { regular, folder, link, other };

FileKind kind_of(mode_t mode) {
  if (S_ISREG(mode)) return FileKind::regular;
  if (S_ISDIR(mode)) return FileKind::folder;
  return S_ISLNK(mode) ? FileKind::link : FileKind::other;
}

struct FolderEntry {
  std::string name;
  FileKind kind = FileKind::other;
};

/// The entries of a folder without hidden ones. Not 0: the errno value of why there are none.
int read_folder(const std::string& path, std::vector<FolderEntry>& entries) {
  struct Close {
    void operator()(DIR* folder) const { ::closedir(folder); }
  };
  const std::unique_ptr<DIR, Close> folder(::opendir(path.c_str()));
  if (!folder) return errno;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(folder.get());
    if (entry == nullptr) return errno;
    if (entry->d_name[0] == '.') continue;
    FolderEntry found{entry->d_name, FileKind::other};
    // Most file systems tell the kind here.
    if (entry->d_type == DT_REG) {
      found.kind = FileKind::regular;
    } else if (entry->d_type == DT_DIR) {
      found.kind = FileKind::folder;
    } else if (entry->d_type == DT_LNK) {
      found.kind = FileKind::link;
    } else if (entry->d_type == DT_UNKNOWN) {
      struct stat status {};
      if (::fstatat(::dirfd(folder.get()), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0) {
        found.kind = kind_of(status.st_mode);
      }
    }
    entries.push_back(std::move(found));
  }
}

bool matches(const std::vector<std::string>& patterns, const std::string& name, const std::string& below) {
  return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
    const std::string& text = pattern.find('/') == std::string::npos ? name : below;
    return ::fnmatch(pattern.c_str(), text.c_str(), 0) == 0;
  });
}

std::vector<std::string> split_paths(const std::string& text) {
  const char separator = text.find('\0') != std::string::npos ? '\0' : '\n';
  std::vector<std::string> paths;
  for (std::size_t start = 0; start < text.size();) {
    std::size_t end = text.find(separator, start);
    if (end == std::string::npos) end = text.size();
    if (end > start) paths.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return paths;
}

class Lister {
 public:
  explicit Lister(const ListOptions& options) : options_(options) {
    if (options.output.empty() || options.output == "-") return;
    output_name_ = options.output.filename().string();
    std::error_code ignored;
    output_folder_ = std::filesystem::absolute(options.output, ignored).parent_path().lexically_normal();
  }

  void add_argument(const std::string& path) {
    struct stat status {};
    if (path.empty() || ::stat(path.c_str(), &status) != 0) {
      add(path, stages::system_message(path.empty() ? ENOENT : errno));
    } else if (S_ISDIR(status.st_mode)) {
      walk(path);
    } else {
      add(path, "", status.st_size);
    }
  }

  bool full() const { return options_.limit && inputs_.size() >= *options_.limit; }
  std::vector<ListedInput> take() {
    if (options_.limit && inputs_.size() > *options_.limit) inputs_.resize(*options_.limit);
    return std::move(inputs_);
  }

 private:
  struct Found {
    std::string path;
    std::string error;
  };

  void add(const std::string& path, const std::string& error, off_t size = 0) {
    const std::filesystem::path as_path(path);
    if (!seen_.insert(as_path.lexically_normal().string()).second) return;
    inputs_.push_back({as_path, stages::replace_invalid_utf8(path), error,
                       static_cast<std::uint64_t>(std::max<off_t>(size, 0))});
  }

  void walk(const std::string& root) {
    const std::string prefix = root.back() == '/' ? root : root + "/";
    std::vector<Found> found;
    std::vector<std::string> folders = {""};  // below the root, each ended by '/'
    while (!folders.empty()) {
      const std::string below = std::move(folders.back());
      folders.pop_back();
      const std::string folder = prefix + below;
      std::vector<FolderEntry> entries;
      if (const int error = read_folder(folder, entries); error != 0) {
        found.push_back(
            {below.empty() ? root : folder.substr(0, folder.size() - 1), stages::system_message(error)});
      }
      const bool holds_output = is_output_folder(folder);
      for (const FolderEntry& entry : entries) visit(entry, prefix, below, holds_output, folders, found);
    }
    std::sort(found.begin(), found.end(), [](const Found& a, const Found& b) { return a.path < b.path; });
    for (const Found& file : found) {
      struct stat status {};
      const bool known = file.error.empty() && ::stat(file.path.c_str(), &status) == 0;
      add(file.path, file.error, known ? status.st_size : 0);
    }
  }

  void visit(const FolderEntry& entry, const std::string& prefix, const std::string& below, bool holds_output,
             std::vector<std::string>& folders, std::vector<Found>& found) const {
    const std::string path_below = below + entry.name;
    if (matches(options_.exclude, entry.name, path_below)) return;
    if (holds_output && is_output(entry.name)) return;
    if (entry.kind == FileKind::folder) {
      folders.push_back(path_below + "/");
      return;
    }
    if (entry.kind == FileKind::other) return;
    if (!options_.include.empty() && !matches(options_.include, entry.name, path_below)) return;
    std::string error;
    if (entry.kind == FileKind::link) {
      struct stat target {};
      if (::stat((prefix + path_below).c_str(), &target) != 0) {
        error = "link to what cannot be read: " + stages::system_message(errno);
      } else if (!S_ISREG(target.st_mode)) {
        return;
      }
    }
    found.push_back({prefix + path_below, error});
  }

  bool is_output_folder(const std::string& folder) const {
    if (output_name_.empty()) return false;
    std::error_code ignored;
    return std::filesystem::equivalent(folder, output_folder_, ignored);
  }

  bool is_output(const std::string& name) const {
    return name == output_name_ || (name.size() > output_name_.size() && name[output_name_.size()] == '.' &&
                                    name.compare(0, output_name_.size(), output_name_) == 0);
  }

  const ListOptions& options_;
  std::string output_name_;
  std::filesystem::path output_folder_;
  std::vector<ListedInput> inputs_;
  std::unordered_set<std::string> seen_;
};

}  // namespace

std::size_t shard_of(const std::string& name, std::size_t shards) {
  return static_cast<std::size_t>(std::stoull(sha256_of(name).substr(0, 16), nullptr, 16) % shards);
}

std::vector<ListedInput> list_inputs(const std::vector<std::filesystem::path>& arguments,
                                     const ListOptions& options, std::istream& standard_input) {
  Lister lister(options);
  for (const std::filesystem::path& argument : arguments) {
    if (lister.full()) break;
    if (argument != "-") {
      lister.add_argument(argument.string());
      continue;
    }
    const std::string text{std::istreambuf_iterator<char>(standard_input), std::istreambuf_iterator<char>()};
    for (const std::string& path : split_paths(text)) lister.add_argument(path);
  }
  return lister.take();
}

}  // namespace reelfolio::pipeline
