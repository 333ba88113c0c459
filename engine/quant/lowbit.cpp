#include "engine/quant/lowbit.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace reelfolio::engine::quant {
namespace {

// Lloyd-Max levels of the standard normal distribution (Max 1960, table I), positive half.
constexpr std::array<float, 8> kNormal16 = {0.1284F, 0.3881F, 0.6568F, 0.9424F,
                                            1.2562F, 1.6181F, 2.0690F, 2.7326F};
constexpr std::array<float, 2> kNormal4 = {0.4528F, 1.5104F};

constexpr int kMaxMultiplier = 255;

template <std::size_t N>
LevelTables make_tables(const std::array<float, N>& half) {
  LevelTables tables;
  for (int m = 0; m <= kMaxMultiplier; ++m) {
    for (std::size_t entry = 0; entry < 16; ++entry) {
      const std::size_t code = entry % (2 * N);
      const bool negative = code < N;
      const std::size_t rank = negative ? N - 1 - code : code - N;
      const float level = half[rank] / half.back() * 127.0F * static_cast<float>(m) / kMaxMultiplier;
      const int rounded = static_cast<int>(std::lround(negative ? -level : level));
      tables.level[m][entry] = static_cast<std::int8_t>(rounded);
    }
  }
  return tables;
}

// Nearest of `count` ascending levels.
int nearest(const int* levels, int count, float value) {
  int code = 0;
  for (int c = 1; c < count; ++c) {
    code += value > 0.5F * static_cast<float>(levels[c - 1] + levels[c]) ? 1 : 0;
  }
  return code;
}

struct Codebook {
  explicit Codebook(LowBits bits) : count(1 << static_cast<int>(bits)) {
    const LevelTables& tables = level_tables(bits);
    for (int m = 0; m <= kMaxMultiplier; ++m) {
      for (int c = 0; c < count; ++c) levels[m][c] = tables.level[m][c];
    }
  }

  /// Squared error of a group's values rounded to the levels of `multiplier`.
  float error(int multiplier, const std::array<float, kGroup>& values, std::size_t n) const {
    // All values at once, level by level: a value takes the step to each level whose lower
    // boundary it has passed. Loops without branches become vector code.
    std::array<float, kGroup> rounded{};
    const auto& level = levels[multiplier];
    rounded.fill(static_cast<float>(level[0]));
    for (int c = 1; c < count; ++c) {
      const float boundary = 0.5F * static_cast<float>(level[c - 1] + level[c]);
      const auto step = static_cast<float>(level[c] - level[c - 1]);
      for (std::size_t i = 0; i < kGroup; ++i) rounded[i] += values[i] > boundary ? step : 0.0F;
    }
    // Eight sums side by side, in an order that is part of the packed format.
    std::array<float, 8> sums{};
    for (std::size_t i = 0; i < n / 8 * 8; i += 8) {
      for (std::size_t lane = 0; lane < 8; ++lane) {
        const float d = values[i + lane] - rounded[i + lane];
        sums[lane] += d * d;
      }
    }
    float sum = 0.0F;
    for (const float part : sums) sum += part;
    for (std::size_t i = n / 8 * 8; i < n; ++i) sum += (values[i] - rounded[i]) * (values[i] - rounded[i]);
    return sum;
  }

  int count;
  std::array<std::array<int, 16>, kMaxMultiplier + 1> levels{};
};

const Codebook& codebook(LowBits bits) {
  static const Codebook four(LowBits::four);
  static const Codebook two(LowBits::two);
  return bits == LowBits::four ? four : two;
}

// Scale of a group, as the value of the largest level, that the distribution suggests:
// the root mean square times the largest level of the normal quantiser.
float natural_scale(const float* values, std::size_t n, LowBits bits) {
  double squares = 0;
  for (std::size_t i = 0; i < n; ++i) squares += static_cast<double>(values[i]) * values[i];
  const double rms = std::sqrt(squares / static_cast<double>(n));
  return static_cast<float>(rms) * (bits == LowBits::four ? kNormal16.back() : kNormal4.back());
}

// Multipliers tried around the natural one, as fractions of it.
constexpr std::array<float, 9> kTrials = {0.76F, 0.82F, 0.88F, 0.94F, 1.0F, 1.06F, 1.12F, 1.2F, 1.3F};

}  // namespace

const LevelTables& level_tables(LowBits bits) {
  static const LevelTables four = make_tables(kNormal16);
  static const LevelTables two = make_tables(kNormal4);
  return bits == LowBits::four ? four : two;
}

void pack_row_block(const LowBitShape& shape, std::size_t block, std::span<const float* const> rows,
                    std::uint8_t* codes, std::uint8_t* multipliers, float* row_scales,
                    std::int32_t* row_sums) {
  const Codebook& book = codebook(shape.bits);
  const std::size_t groups = shape.groups();
  const std::size_t chunk = shape.chunk_inputs();
  const int width = static_cast<int>(shape.bits);
  const std::size_t group_bytes = shape.chunks_per_group() * kChunkBytes;
  std::uint8_t* block_codes = codes + block * groups * group_bytes;
  std::uint8_t* block_multipliers = multipliers + block * groups * kRowsPerBlock;
  std::fill(block_codes, block_codes + groups * group_bytes, std::uint8_t{0});
  std::fill(block_multipliers, block_multipliers + groups * kRowsPerBlock, std::uint8_t{0});
  std::vector<float> scales(groups);
  std::array<float, kGroup> scaled{};
  for (std::size_t r = 0; r < kRowsPerBlock; ++r) {
    row_scales[block * kRowsPerBlock + r] = 0.0F;
    std::int32_t& row_sum = row_sums[block * kRowsPerBlock + r];
    row_sum = 0;
    if (r >= rows.size()) continue;
    const float* row = rows[r];
    float largest = 0.0F;
    for (std::size_t g = 0; g < groups; ++g) {
      const std::size_t count = std::min(kGroup, shape.in - g * kGroup);
      scales[g] = natural_scale(row + g * kGroup, count, shape.bits);
      largest = std::max(largest, scales[g]);
    }
    if (!(largest > 0.0F)) continue;
    largest *= kTrials.back();  // room for the widest trial of the widest group
    const float row_scale = largest / 127.0F;
    row_scales[block * kRowsPerBlock + r] = row_scale;
    for (std::size_t g = 0; g < groups; ++g) {
      const std::size_t count = std::min(kGroup, shape.in - g * kGroup);
      for (std::size_t i = 0; i < count; ++i) scaled[i] = row[g * kGroup + i] / row_scale;
      int best = 0;
      float best_error = std::numeric_limits<float>::infinity();
      for (const float trial : kTrials) {
        const auto m = static_cast<int>(std::lround(trial * scales[g] / largest * kMaxMultiplier));
        const int clamped = std::clamp(m, 0, kMaxMultiplier);
        const float error = book.error(clamped, scaled, count);
        if (error < best_error) {
          best_error = error;
          best = clamped;
        }
      }
      block_multipliers[g * kRowsPerBlock + r] = static_cast<std::uint8_t>(best);
      for (std::size_t i = 0; i < count; ++i) {
        const int code = nearest(book.levels[best].data(), book.count, scaled[i]);
        row_sum += book.levels[best][code];
        const std::size_t in_chunk = i % chunk;
        std::uint8_t* bytes = block_codes + g * group_bytes + i / chunk * kChunkBytes + r * 16;
        bytes[in_chunk % 16] |= static_cast<std::uint8_t>(code << (width * static_cast<int>(in_chunk / 16)));
      }
      row_sum += static_cast<std::int32_t>(kGroup - count) * book.levels[best][0];
    }
  }
}

void unpack_rows(const LowBitMatrix& matrix, std::size_t first, std::size_t count, std::int8_t* out) {
  const LowBitShape& shape = matrix.shape;
  const LevelTables& tables = level_tables(shape.bits);
  const std::size_t groups = shape.groups();
  const std::size_t chunk = shape.chunk_inputs();
  const unsigned width = static_cast<unsigned>(shape.bits);
  const unsigned mask = (1U << width) - 1;
  const std::size_t group_bytes = shape.chunks_per_group() * kChunkBytes;
  for (std::size_t n = first; n < first + count; ++n) {
    const std::size_t block = n / kRowsPerBlock;
    const std::size_t r = n % kRowsPerBlock;
    std::int8_t* row = out + (n - first) * shape.in;
    for (std::size_t g = 0; g < groups; ++g) {
      const auto& level = tables.level[matrix.multipliers[(block * groups + g) * kRowsPerBlock + r]];
      const std::uint8_t* bytes = matrix.codes + (block * groups + g) * group_bytes + r * 16;
      for (std::size_t start = 0; start < kGroup; start += 16) {
        const std::size_t k = g * kGroup + start;
        if (k >= shape.in) break;
        const std::uint8_t* field = bytes + start / chunk * kChunkBytes;
        const unsigned shift = width * static_cast<unsigned>(start % chunk / 16);
        const std::size_t inputs = std::min<std::size_t>(16, shape.in - k);
        for (std::size_t i = 0; i < inputs; ++i) {
          row[k + i] = level[(field[i] >> shift) & mask];
        }
      }
    }
  }
}

}  // namespace reelfolio::engine::quant
