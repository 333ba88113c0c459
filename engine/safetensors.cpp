#include "engine/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <system_error>
#include <utility>

#include "engine/error.h"
#include "engine/json.h"

static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian");

namespace reelfolio::engine {
namespace {

constexpr std::size_t kLengthBytes = 8;
// The format's own limit.
constexpr std::uint64_t kMostHeaderBytes = 100'000'000;
constexpr std::size_t kMostDimensions = 8;
constexpr std::string_view kIndexName = "model.safetensors.index.json";
constexpr std::string_view kSingleName = "model.safetensors";
constexpr std::string_view kPackedName = "packed.safetensors";

struct DTypeSpelling {
  std::string_view name;
  DType dtype;
};
constexpr std::array<DTypeSpelling, 10> kDTypes = {{{"F32", DType::f32},
                                                    {"F16", DType::f16},
                                                    {"BF16", DType::bf16},
                                                    {"F64", DType::f64},
                                                    {"I64", DType::i64},
                                                    {"I32", DType::i32},
                                                    {"I16", DType::i16},
                                                    {"I8", DType::i8},
                                                    {"U8", DType::u8},
                                                    {"BOOL", DType::boolean}}};

/// A file mapped read-only for the object's lifetime.
class Mapping {
 public:
  Mapping(const std::filesystem::path& path, const std::string& name) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) fail(name, errno == ENOENT ? "not found in " + path.parent_path().string() : describe(errno));
    struct stat info {};
    const int status = ::fstat(fd, &info);
    const int status_error = errno;
    if (status == 0 && S_ISREG(info.st_mode) && info.st_size > 0) {
      size_ = static_cast<std::size_t>(info.st_size);
      void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
      const int map_error = errno;
      ::close(fd);
      if (address == MAP_FAILED) {
        size_ = 0;
        fail(name, describe(map_error));
      }
      data_ = static_cast<const std::byte*>(address);
      return;
    }
    ::close(fd);
    if (status != 0) fail(name, describe(status_error));
    fail(name, S_ISREG(info.st_mode) ? "is empty" : "not a regular file");
  }
  Mapping(Mapping&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Mapping& operator=(Mapping&&) = delete;
  ~Mapping() {
    if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
  }

  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  [[noreturn]] static void fail(const std::string& name, const std::string& what) {
    throw ModelError(name + ": " + what);
  }
  static std::string describe(int error) {
    return "cannot be opened: " + std::generic_category().message(error);
  }

  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// Reads one file's header. `file` and the tensors it yields borrow the mapping.
class HeaderReader {
 public:
  HeaderReader(std::span<const std::byte> bytes, const std::string& name) : name_(name) {
    if (bytes.size() < kLengthBytes)
      fail("is " + std::to_string(bytes.size()) + " bytes, too short for a header");
    std::uint64_t length = 0;
    std::memcpy(&length, bytes.data(), kLengthBytes);
    const std::size_t behind = bytes.size() - kLengthBytes;
    if (length > kMostHeaderBytes) {
      fail("header is " + std::to_string(length) + " bytes, expected at most " +
           std::to_string(kMostHeaderBytes));
    }
    if (length > behind) {
      fail("header is " + std::to_string(length) + " bytes, but the file ends " + std::to_string(behind) +
           " bytes after its length");
    }
    file_.name = name;
    file_.size_bytes = bytes.size();
    file_.header = {reinterpret_cast<const char*>(bytes.data()) + kLengthBytes,
                    static_cast<std::size_t>(length)};
    file_.data = bytes.subspan(kLengthBytes + static_cast<std::size_t>(length));
  }

  const Checkpoint::File& file() const { return file_; }

  /// Members of __metadata__ that are texts, as the format wants all of them to be.
  std::map<std::string, std::string, std::less<>> metadata() const {
    std::map<std::string, std::string, std::less<>> texts;
    const JsonDocument document(file_.header, name_);
    const std::optional<JsonValue> section = document.root().find("__metadata__");
    if (!section || !section->is_object()) return texts;
    for (const simdjson::dom::key_value_pair field : section->object()) {
      std::string_view text;
      if (field.value.get_string().get(text) == simdjson::SUCCESS) texts.emplace(field.key, text);
    }
    return texts;
  }

  std::vector<TensorView> tensors() const {
    const JsonDocument document(file_.header, name_);
    std::vector<TensorView> tensors;
    for (const simdjson::dom::key_value_pair field : document.root().object()) {
      if (field.key == "__metadata__") continue;  // see metadata()
      tensors.push_back(tensor(field));
    }
    check_tiling(tensors);
    return tensors;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const { throw ModelError(name_ + ": " + what); }
  [[noreturn]] void fail(std::string_view tensor, const std::string& what) const {
    fail("tensor '" + std::string(tensor) + "' " + what);
  }

  TensorView tensor(const simdjson::dom::key_value_pair& field) const {
    const std::string_view name = field.key;
    simdjson::dom::object entry;
    if (field.value.get_object().get(entry) != simdjson::SUCCESS) fail(name, "is no object");
    TensorView tensor;
    tensor.name = name;
    tensor.file = name_;
    tensor.dtype = dtype(name, entry);
    const std::uint64_t expected = shape(name, entry, tensor);

    simdjson::dom::array offsets;
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    if (entry.at_key("data_offsets").get_array().get(offsets) != simdjson::SUCCESS || offsets.size() != 2 ||
        offsets.at(0).get_uint64().get(begin) != simdjson::SUCCESS ||
        offsets.at(1).get_uint64().get(end) != simdjson::SUCCESS) {
      fail(name, "has no pair of data_offsets");
    }
    if (begin > end || end > file_.data.size()) {
      fail(name, "lies at bytes " + std::to_string(begin) + " to " + std::to_string(end) +
                     ", but the file has " + std::to_string(file_.data.size()) + " bytes of data");
    }
    if (end - begin != expected) {
      fail(name, "has " + std::to_string(end - begin) + " bytes, expected " + std::to_string(expected) +
                     " for " + std::string(dtype_name(tensor.dtype)) + " " + shape_text(tensor.shape));
    }
    tensor.bytes = file_.data.subspan(begin, end - begin);
    return tensor;
  }

  DType dtype(std::string_view name, const simdjson::dom::object& entry) const {
    std::string_view spelling;
    if (entry.at_key("dtype").get_string().get(spelling) != simdjson::SUCCESS) fail(name, "has no dtype");
    const auto known = std::find_if(kDTypes.begin(), kDTypes.end(), [&](const DTypeSpelling& candidate) {
      return candidate.name == spelling;
    });
    if (known == kDTypes.end()) fail(name, "has the unknown dtype '" + std::string(spelling) + "'");
    return known->dtype;
  }

  /// Fills in the shape; returns the size in bytes that it asks for.
  std::uint64_t shape(std::string_view name, const simdjson::dom::object& entry, TensorView& tensor) const {
    simdjson::dom::array dimensions;
    if (entry.at_key("shape").get_array().get(dimensions) != simdjson::SUCCESS) fail(name, "has no shape");
    if (dimensions.size() > kMostDimensions) {
      fail(name, "has " + std::to_string(dimensions.size()) + " dimensions, expected at most " +
                     std::to_string(kMostDimensions));
    }
    std::uint64_t bytes = dtype_bytes(tensor.dtype);
    for (const simdjson::dom::element element : dimensions) {
      std::uint64_t size = 0;
      if (element.get_uint64().get(size) != simdjson::SUCCESS)
        fail(name, "has a shape that is no list of sizes");
      tensor.shape.push_back(size);
      if (__builtin_mul_overflow(bytes, size, &bytes)) {
        fail(name, "is " + shape_text(tensor.shape) + ", more than 2^64 bytes");
      }
    }
    return bytes;
  }

  /// The format demands that tensors cover the data without gap or overlap.
  void check_tiling(const std::vector<TensorView>& tensors) const {
    std::vector<const TensorView*> order;
    for (const TensorView& tensor : tensors) order.push_back(&tensor);
    // An empty tensor goes before the one that starts where it lies.
    std::sort(order.begin(), order.end(), [](const TensorView* a, const TensorView* b) {
      return std::pair(a->bytes.data(), a->bytes.size()) < std::pair(b->bytes.data(), b->bytes.size());
    });
    std::size_t covered = 0;
    const TensorView* previous = nullptr;
    for (const TensorView* tensor : order) {
      const auto begin = static_cast<std::size_t>(tensor->bytes.data() - file_.data.data());
      if (begin < covered) fail(tensor->name, "overlaps tensor '" + previous->name + "'");
      if (begin > covered) gap(covered, begin);
      covered = begin + tensor->bytes.size();
      previous = tensor;
    }
    if (covered < file_.data.size()) gap(covered, file_.data.size());
  }
  [[noreturn]] void gap(std::size_t begin, std::size_t end) const {
    fail("data bytes " + std::to_string(begin) + " to " + std::to_string(end) + " belong to no tensor");
  }

  const std::string& name_;
  Checkpoint::File file_;
};

/// Tensor name -> file name, as an index gives it.
using WeightMap = std::map<std::string, std::string, std::less<>>;

std::optional<WeightMap> read_index(const std::filesystem::path& dir) {
  const std::string name(kIndexName);
  const auto text = read_optional_model_file(dir / name, kMostHeaderBytes);
  if (!text) return std::nullopt;
  const JsonDocument document(*text, name);
  WeightMap map;
  for (const simdjson::dom::key_value_pair field : document.root().require("weight_map").object()) {
    const std::string tensor(field.key);
    std::string_view file;
    if (field.value.get_string().get(file) != simdjson::SUCCESS) {
      throw ModelError(name + ": tensor '" + tensor + "' has no file name");
    }
    if (file.empty() || file == "." || file == ".." || file.find('/') != file.npos ||
        file.find('\0') != file.npos) {
      throw ModelError(name + ": tensor '" + tensor + "' lies in '" + std::string(file) +
                       "', expected a file name in the model directory");
    }
    if (!map.emplace(tensor, file).second) throw ModelError(name + ": tensor '" + tensor + "' occurs twice");
  }
  if (map.empty()) throw ModelError(name + ": key 'weight_map' is empty");
  return map;
}

void advise(std::span<const std::byte> bytes, int advice) {
  if (bytes.empty()) return;
  static const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(bytes.data()) / page * page;
  const auto end = (reinterpret_cast<std::uintptr_t>(bytes.data()) + bytes.size() + page - 1) / page * page;
  // Only a hint: where the system refuses it, reading works all the same.
  (void)::madvise(reinterpret_cast<void*>(begin), end - begin, advice);
}

}  // namespace

struct Checkpoint::Impl {
  std::string dir;
  std::vector<Mapping> mappings;
  std::shared_ptr<const void> owner;  // of tensors that are not in mappings
  std::vector<File> files;
  std::vector<TensorView> tensors;  // by name
  std::map<std::string, std::string, std::less<>> metadata;

  void add_file(const std::filesystem::path& path, const std::string& name) {
    mappings.emplace_back(path, name);
    const HeaderReader reader(mappings.back().bytes(), name);
    files.push_back(reader.file());
    for (TensorView& tensor : reader.tensors()) tensors.push_back(std::move(tensor));
    metadata.merge(reader.metadata());
  }

  void sort_tensors() {
    std::sort(tensors.begin(), tensors.end(),
              [](const TensorView& a, const TensorView& b) { return a.name < b.name; });
    const auto twin =
        std::adjacent_find(tensors.begin(), tensors.end(),
                           [](const TensorView& a, const TensorView& b) { return a.name == b.name; });
    if (twin == tensors.end()) return;
    const std::string& other = (twin + 1)->file;
    throw ModelError(twin->file + ": tensor '" + twin->name + "' occurs twice" +
                     (other == twin->file ? "" : ", also in " + other));
  }
};

Checkpoint::Checkpoint(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;
Checkpoint& Checkpoint::operator=(Checkpoint&&) noexcept = default;
Checkpoint::~Checkpoint() = default;

Checkpoint Checkpoint::open(const std::filesystem::path& dir) {
  auto impl = std::make_unique<Impl>();
  impl->dir = dir.string();
  const bool packed = std::filesystem::exists(dir / kPackedName);
  const std::optional<WeightMap> index = packed ? std::nullopt : read_index(dir);
  if (!index) {
    const std::string_view name = packed ? kPackedName : kSingleName;
    impl->add_file(dir / name, std::string(name));
    impl->sort_tensors();
    return Checkpoint(std::move(impl));
  }
  std::vector<std::string> names;
  for (const auto& [tensor, file] : *index) names.push_back(file);
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  for (const std::string& name : names) impl->add_file(dir / name, name);
  impl->sort_tensors();
  Checkpoint checkpoint(std::move(impl));
  for (const auto& [name, file] : *index) {
    const TensorView* tensor = checkpoint.find(name);
    if (tensor == nullptr || tensor->file != file) {
      throw ModelError(file + ": tensor '" + name + "' is missing, although " + std::string(kIndexName) +
                       " puts it there");
    }
  }
  return checkpoint;
}

Checkpoint Checkpoint::from_memory(std::string name, std::vector<TensorView> tensors,
                                   std::shared_ptr<const void> owner) {
  auto impl = std::make_unique<Impl>();
  impl->dir = std::move(name);
  impl->owner = std::move(owner);
  impl->tensors = std::move(tensors);
  impl->sort_tensors();
  return Checkpoint(std::move(impl));
}

const TensorView* Checkpoint::find(std::string_view name) const {
  const auto place =
      std::lower_bound(impl_->tensors.begin(), impl_->tensors.end(), name,
                       [](const TensorView& tensor, std::string_view key) { return tensor.name < key; });
  return place != impl_->tensors.end() && place->name == name ? &*place : nullptr;
}

const TensorView& Checkpoint::require(std::string_view name) const {
  const TensorView* tensor = find(name);
  if (tensor == nullptr) throw ModelError(impl_->dir + ": tensor '" + std::string(name) + "' is missing");
  if (tensor->dtype != DType::f32 && tensor->dtype != DType::bf16 && tensor->dtype != DType::f16) {
    throw ModelError(tensor->file + ": tensor '" + tensor->name + "' is " +
                     std::string(dtype_name(tensor->dtype)) + ", expected F32, BF16 or F16");
  }
  return *tensor;
}

const TensorView& Checkpoint::require(std::string_view name, const std::vector<std::size_t>& shape) const {
  const TensorView& tensor = require(name);
  if (tensor.shape != shape) {
    throw ModelError(tensor.file + ": tensor '" + tensor.name + "' is " + shape_text(tensor.shape) +
                     ", expected " + shape_text(shape));
  }
  return tensor;
}

const std::string* Checkpoint::metadata(std::string_view key) const {
  const auto found = impl_->metadata.find(key);
  return found == impl_->metadata.end() ? nullptr : &found->second;
}

std::span<const TensorView> Checkpoint::tensors() const {
  return impl_->tensors;
}
std::span<const Checkpoint::File> Checkpoint::files() const {
  return impl_->files;
}

// These take the checkpoint to say that the tensor must be one of its own.
void Checkpoint::advise_random(const TensorView& tensor) const {
  advise(tensor.bytes, MADV_RANDOM);
}
void Checkpoint::advise_needed(const TensorView& tensor) const {
  advise(tensor.bytes, MADV_WILLNEED);
}
void Checkpoint::advise_needed(const TensorView& tensor, std::size_t first, std::size_t count) const {
  advise(tensor.bytes.subspan(first, count), MADV_WILLNEED);
}
void Checkpoint::release(const TensorView& tensor) const {
  advise(tensor.bytes, MADV_DONTNEED);
}

void read_f32(const TensorView& tensor, std::size_t first, std::span<float> out) {
  assert(first <= tensor.num_elements() && out.size() <= tensor.num_elements() - first);
  if (out.empty()) return;
  const std::byte* source = tensor.bytes.data() + first * dtype_bytes(tensor.dtype);
  if (tensor.dtype == DType::f32) {
    std::memcpy(out.data(), source, out.size_bytes());
    return;
  }
  assert(tensor.dtype == DType::bf16 || tensor.dtype == DType::f16);
  const auto convert = tensor.dtype == DType::bf16 ? bf16_to_f32 : f16_to_f32;
  for (std::size_t i = 0; i < out.size(); ++i) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, source + i * sizeof bits, sizeof bits);
    out[i] = convert(bits);
  }
}

void read_f32(const TensorView& tensor, std::span<float> out) {
  assert(out.size() == tensor.num_elements());
  read_f32(tensor, 0, out);
}

std::string shape_text(std::span<const std::size_t> shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + "]";
}

}  // namespace reelfolio::engine
