#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "stages/stage.h"

/// What tests of the video stages share.
namespace reelfolio::test {

class Collector : public stages::Emitter {
 public:
  void emit(stages::Item item) override {
    items.push_back(std::move(item));
    if (stop_after > 0 && items.size() >= stop_after) throw stages::Cancelled{};
  }
  void error(const stages::ItemError& error, std::shared_ptr<const stages::Unit>) override {
    codes.push_back(error.code());
  }
  std::vector<stages::Item> items;
  std::vector<std::string> codes;
  std::size_t stop_after = 0;
};

inline std::unique_ptr<stages::Transform> make_transform(
    const stages::StageType& type,
    const std::vector<std::pair<std::string, stages::ParamValue>>& values = {}) {
  stages::Params params;
  for (const stages::ParamSpec& spec : type.params) params.set(spec.name, spec.default_value);
  for (const auto& [name, value] : values) params.set(name, value);
  return type.make_transform(params, {"scenes", {}, {}});
}

inline stages::Item input_item(const std::filesystem::path& path) {
  auto input = std::make_shared<stages::InputFile>();
  input->name = path.string();
  input->path = path;
  input->media = stages::MediaKind::video;
  return {input, nullptr, {}};
}

}  // namespace reelfolio::test
