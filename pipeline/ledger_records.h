#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "pipeline/history.h"

/// What the ledger keeps, as bytes. A ledger may be damaged or forged: reading gives nothing rather
/// than something wrong, and takes no more memory than a multiple of what it is given.
namespace reelfolio::pipeline {

/// JSON. Results of units without their texts and words, which no line shows.
std::string result_record(const stages::InputResult& result);
/// `input` becomes that of the result.
std::optional<stages::InputResult> read_result(std::string_view record,
                                               std::shared_ptr<const stages::InputFile> input);

std::string decoding_record(const Decoding& decoding);
std::optional<Decoding> read_decoding(std::string_view record);

/// JSON.
std::string answer_record(const KnownAnswer& answer);
std::optional<KnownAnswer> read_answer(std::string_view record);

}  // namespace reelfolio::pipeline
