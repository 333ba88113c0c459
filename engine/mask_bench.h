#pragma once

#include <cstddef>

namespace reelfolio::engine {

class Tokenizer;

/// What constrained decoding costs a token, apart from the model: writing invoices in the schema's
/// JSON, of random but sensible contents.
struct MaskMeasure {
  double median_s = 0;  ///< of a mask, found or made, and of the step that takes the chosen token
  double slowest_s = 0;
  double prepare_s = 0;  ///< once: the tree of tokens, and compiling the schema
  std::size_t masks = 0;
  std::size_t forced_tokens = 0;  ///< beside `masks`: taken without asking a model
};

/// `runs` invoices. One thread.
MaskMeasure measure_masks(const Tokenizer& tokenizer, int runs);

}  // namespace reelfolio::engine
