#pragma once

#include <cstring>

#include "engine/ops/matmul.h"
#include "engine/tensor.h"

/// For tests that results do not depend on threads or company.
namespace reelfolio::test {

/// Puts the number of threads back that there was before.
struct RestoreThreads {
  int before = engine::ops::num_threads();
  ~RestoreThreads() { engine::ops::set_num_threads(before); }
};

inline bool same_bits(engine::ConstVector a, engine::ConstVector b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace reelfolio::test
