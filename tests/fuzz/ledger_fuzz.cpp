#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "pipeline/answer_key.h"
#include "pipeline/ledger_records.h"
#include "pipeline/recorded_decoding.h"
#include "stages/write_jsonl.h"

using namespace reelfolio;

namespace {

/// Takes what is reported again, and nothing else.
struct Nobody final : stages::DecodeEvents {
  void emitted(int, stages::Item, bool) override {}
  void unit_closed(const std::shared_ptr<const stages::Unit>&) override {}
  void failed(int, std::shared_ptr<const stages::Unit>, const std::string&, const std::string&) override {}
};

void use_decoding(std::string_view record) {
  const auto decoding = pipeline::read_decoding(record);
  if (!decoding) return;
  // What was read is written and read again the same.
  const std::string written = pipeline::decoding_record(*decoding);
  const auto again = pipeline::read_decoding(written);
  if (!again || pipeline::decoding_record(*again) != written) std::abort();
  stages::DecodePlan plan;
  plan.stages.resize(3);
  pipeline::MakeMedia make;
  make.picture = [](const std::string&, const stages::PictureShape&) {
    return std::make_shared<engine::RgbImage>();
  };
  make.clip = [](const std::string&, const stages::ClipShape&) {
    return std::make_shared<engine::AudioClip>();
  };
  Nobody nobody;
  pipeline::replay(*decoding, plan, std::make_shared<stages::InputFile>(), make, nobody);
}

}  // namespace

/// The first byte says which kind of record the rest is taken for.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view record(reinterpret_cast<const char*>(data + 1), size - 1);
  switch (data[0] % 3) {
    case 0:
      if (const auto result = pipeline::read_result(record, std::make_shared<stages::InputFile>())) {
        const std::string lines = stages::jsonl_lines(*result);
        const auto again = pipeline::read_result(pipeline::result_record(*result), result->input);
        if (!again || stages::jsonl_lines(*again) != lines) std::abort();
      }
      break;
    case 1:
      if (const auto answer = pipeline::read_answer(record)) {
        const std::string written = pipeline::answer_record(*answer);
        const auto again = pipeline::read_answer(written);
        if (!again || pipeline::answer_record(*again) != written) std::abort();
      }
      break;
    default:
      use_decoding(record);
  }
  return 0;
}
