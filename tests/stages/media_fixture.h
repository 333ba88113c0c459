#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "stages/stage.h"
#include "tests/support/temp_folder.h"

/// What the tests of the media stages share: files that go away, and a stage run on one file.
namespace reelfolio::stages {

class MediaFolder : public reelfolio::test::TempFolder {
 public:
  std::filesystem::path path(const std::string& name) const { return *this / name; }
};

using reelfolio::test::read_file;

/// The code of the ItemError that `call` throws; "" if it throws none.
inline std::string error_code(const std::function<void()>& call) {
  try {
    call();
  } catch (const ItemError& error) {
    return error.code();
  }
  return "";
}

/// Keeps what a worker makes.
class Collector : public Emitter {
 public:
  void emit(Item item) override { items.push_back(std::move(item)); }
  void error(const ItemError& error, std::shared_ptr<const Unit> unit) override {
    errors.emplace_back(error.code(), unit ? unit->number : 0);
  }
  std::vector<Item> items;
  std::vector<std::pair<std::string, int>> errors;  ///< code and page number, 0 for the input
};

/// Runs one worker of `type` over the file, with defaults for parameters not given.
inline Collector run_stage(const StageType& type, const std::filesystem::path& path,
                           const std::vector<std::pair<std::string, ParamValue>>& given = {},
                           const std::filesystem::path& password_file = {}) {
  Params params;
  for (const ParamSpec& spec : type.params) {
    if (!std::holds_alternative<std::monostate>(spec.default_value))
      params.set(spec.name, spec.default_value);
  }
  for (const auto& [name, value] : given) params.set(name, value);
  StageContext context;
  context.stage_name = "made";
  context.password_file = password_file;
  auto input = std::make_shared<InputFile>();
  input->path = path;
  input->name = path.filename().string();
  input->size_bytes = std::filesystem::file_size(path);
  Collector out;
  const std::unique_ptr<Transform> stage = type.make_transform(params, context);
  const std::unique_ptr<Transform::Worker> worker = stage->make_worker();
  worker->process(Item{input, nullptr, {}}, out);
  worker->end_input();
  return out;
}

/// A generator with a fixed sequence, the same on every machine.
class Sequence {
 public:
  explicit Sequence(std::uint64_t seed) : state_(seed * 2 + 1) {}
  std::uint32_t next(std::uint32_t below) {
    state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<std::uint32_t>(state_ >> 33U) % below;
  }

 private:
  std::uint64_t state_;
};

}  // namespace reelfolio::stages
