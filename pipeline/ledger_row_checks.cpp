#include "pipeline/ledger_row_checks.h"

#include "pipeline/field_hash.h"

namespace reelfolio::pipeline {

std::string file_row_check(const std::string& path, const std::string& stamp, std::int64_t size,
                           const std::string& sha256, std::int64_t media) {
  return FieldHash("ledger file").text(path).text(stamp).number(size).text(sha256).number(media).finish();
}

std::string result_row_check(const std::string& path, const std::string& sha256, const std::string& made_by,
                             const std::string& result, const std::string& answers, std::int64_t failed) {
  FieldHash hash("ledger result");
  hash.text(path).text(sha256).text(made_by).text(result).text(answers).number(failed);
  return hash.finish();
}

std::string decoding_row_check(const std::string& path, const std::string& key, const std::string& events) {
  return FieldHash("ledger decoding").text(path).text(key).text(events).finish();
}

std::string answer_row_check(const std::string& key, const std::string& answer) {
  return FieldHash("ledger answer").text(key).text(answer).finish();
}

}  // namespace reelfolio::pipeline
