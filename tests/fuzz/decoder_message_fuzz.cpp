#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "stages/decoder/event_receiver.h"
#include "stages/decoder/message.h"
#include "stages/utf8.h"

using namespace reelfolio::stages;

namespace {

constexpr std::uint64_t kMostBytes = 1U << 20U;

class NoTransform : public Transform {
 public:
  std::unique_ptr<Worker> make_worker() const override { return nullptr; }
};

/// Aborts where something comes through that a run could not take.
class Judge : public DecodeEvents {
 public:
  void emitted(int stage, Item item, bool is_new) override {
    if (stage != 0 && stage != 1) std::abort();
    if (is_new && (!item.unit || item.unit->producer != (stage == 0 ? "cut" : "pass"))) std::abort();
    std::uint64_t bytes = 0;
    for (const Picture& picture : item.pictures) {
      const auto& image = *picture.image;
      if (image.width <= 0 || image.height <= 0 || picture.soft_tokens <= 0) std::abort();
      if (image.pixels.size() != std::size_t{3} * image.width * image.height) std::abort();
      bytes += image.pixels.size();
    }
    if (bytes > kMostBytes) std::abort();
    if (item.unit) open_.insert(item.unit);
  }
  void unit_closed(const std::shared_ptr<const Unit>& unit) override {
    if (open_.erase(unit) != 1) std::abort();
  }
  void failed(int stage, std::shared_ptr<const Unit>, const std::string& code,
              const std::string& message) override {
    if (stage < DecodePlan::kInputs || stage > 1 || code.empty()) std::abort();
    if (replace_invalid_utf8(message) != message) std::abort();
  }

 private:
  std::set<std::shared_ptr<const Unit>> open_;
};

/// Stages 0 and 1 decode. (Filled by hand: GCC 12 frees a braced list of these twice where an
/// exception leaves its scope.)
DecodePlan plan_of(const Transform& transform) {
  DecodePlan plan;
  plan.stages.resize(3);
  plan.stages[0].name = "cut";
  plan.stages[0].from = {DecodePlan::kInputs};
  plan.stages[1].name = "pass";
  plan.stages[1].from = {0};
  plan.stages[2].name = "language";
  plan.stages[2].from = {1};
  for (int i : {0, 1}) plan.stages[i].transform = &transform;
  return plan;
}

}  // namespace

/// What a decoder process that has been taken over may say: messages, each behind its length in two
/// bytes, through the checks of its parent.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const NoTransform transform;
  static const DecodePlan plan = plan_of(transform);
  const auto input = std::make_shared<const InputFile>();
  Judge judge;
  EventReceiver receiver(plan, input, judge, kMostBytes);
  const auto no_memory = [](std::uint64_t offset, void* to, std::size_t bytes) {
    std::memset(to, 0, bytes);
    return offset < 2 * kMostBytes;
  };
  std::span<const std::uint8_t> rest(data, size);
  try {
    while (rest.size() >= 2) {
      const std::size_t length = rest[0] + (std::size_t{rest[1]} << 8U);
      rest = rest.subspan(2);
      const auto bytes = rest.first(std::min(length, rest.size()));
      rest = rest.subspan(bytes.size());
      // What is understood is said again in the same bytes.
      const std::vector<std::uint8_t> said = Message::parse(bytes).bytes();
      if (Message::parse(said).bytes() != said) std::abort();
      if (!receiver.take(bytes, no_memory)) break;
    }
  } catch (const ProtocolError&) {
  }
  try {
    DecodeRequest::parse({data, size});
  } catch (const ProtocolError&) {
  }
  return 0;
}
