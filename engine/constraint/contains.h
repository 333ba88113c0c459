#pragma once

#include <algorithm>
#include <vector>

namespace reelfolio::engine::constraint {

/// Whether `list`, in any order, holds `value`.
template <class T>
bool contains(const std::vector<T>& list, const T& value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

}  // namespace reelfolio::engine::constraint
