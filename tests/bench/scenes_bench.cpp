// Scene detection of whole files, timed: decoding, scoring and cutting as split_scenes does it.
//
//   reelfolio_scenes_bench [--repeats N] DETECTOR FILE...
//
// prints one JSON object a file: detector, file, the cuts (starts of the scenes after the first, in
// seconds from the first frame), scenes, errors, and the seconds and processor seconds of each repeat.
// tests/compare/scenes_compare.py runs it beside PySceneDetect.

#include <chrono>
#include <cstdlib>
#include <ctime>
#include <iostream>
#include <string>
#include <vector>

#include "stages/video/split_scenes.h"

namespace {

using namespace reelfolio::stages;

class Collector : public Emitter {
 public:
  void emit(Item item) override { scenes.push_back(*item.unit); }
  void error(const ItemError& error, std::shared_ptr<const Unit>) override {
    errors.push_back(error.code() + ": " + error.what());
  }
  std::vector<Unit> scenes;
  std::vector<std::string> errors;
};

Json detect(const std::string& detector, const std::string& file, int repeats) {
  const StageType type = split_scenes_type();
  Params params;
  for (const ParamSpec& spec : type.params) {
    if (!std::holds_alternative<std::monostate>(spec.default_value))
      params.set(spec.name, spec.default_value);
  }
  params.set("detector", detector);
  const auto transform = type.make_transform(params, {"scenes", {}, {}});
  auto input = std::make_shared<InputFile>();
  input->name = file;
  input->path = file;
  input->media = MediaKind::video;

  Json line;
  line["detector"] = detector;
  line["file"] = file;
  for (int i = 0; i < repeats; ++i) {
    Collector out;
    const std::clock_t cpu_begin = std::clock();
    const auto begin = std::chrono::steady_clock::now();
    try {
      transform->make_worker()->process({input, nullptr, {}}, out);
    } catch (const ItemError& error) {
      out.error(error, nullptr);
    }
    line["cpu_seconds"].push_back(static_cast<double>(std::clock() - cpu_begin) / CLOCKS_PER_SEC);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    line["seconds"].push_back(took.count());
    line["cuts"] = Json::array();
    for (std::size_t s = 1; s < out.scenes.size(); ++s) {
      line["cuts"].push_back(out.scenes[s].start_s - out.scenes[0].start_s);
    }
    line["scenes"] = out.scenes.size();
    line["errors"] = out.errors;
  }
  return line;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> arguments(argv + 1, argv + argc);
  int repeats = 1;
  if (arguments.size() >= 2 && arguments[0] == "--repeats") {
    repeats = std::max(1, std::atoi(arguments[1].c_str()));
    arguments.erase(arguments.begin(), arguments.begin() + 2);
  }
  if (arguments.size() < 2) {
    std::cerr << "usage: reelfolio_scenes_bench [--repeats N] DETECTOR FILE...\n";
    return 2;
  }
  for (std::size_t i = 1; i < arguments.size(); ++i) {
    std::cout << detect(arguments[0], arguments[i], repeats).dump() << std::endl;
  }
  return 0;
}
