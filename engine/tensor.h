#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <type_traits>

namespace reelfolio::engine {

/// Element types found in checkpoints.
enum class DType { f32, f16, bf16, f64, i64, i32, i16, i8, u8, boolean };

/// Size of one element; `dtype_name` gives the safetensors spelling ("BF16").
std::size_t dtype_bytes(DType dtype);
std::string_view dtype_name(DType dtype);

float bf16_to_f32(std::uint16_t bits);
float f16_to_f32(std::uint16_t bits);
/// Rounds to nearest, ties to even; NaN stays NaN.
std::uint16_t f32_to_bf16(float value);

/// Borrowed view of a row-major matrix [rows, cols]. Rows are `stride` elements
/// apart, so that a block of columns of a larger matrix is a view too.
template <class T>
struct MatrixView {
  T* data = nullptr;
  std::size_t rows = 0;
  std::size_t cols = 0;
  std::size_t stride = 0;

  MatrixView() = default;
  MatrixView(T* data_, std::size_t rows_, std::size_t cols_) : MatrixView(data_, rows_, cols_, cols_) {}
  MatrixView(T* data_, std::size_t rows_, std::size_t cols_, std::size_t stride_)
      : data(data_), rows(rows_), cols(cols_), stride(stride_) {
    assert(stride_ >= cols_);
  }
  template <class U>
  requires(std::is_same_v<const U, T> && !std::is_same_v<U, T>)
      MatrixView(const MatrixView<U>& other)  // NOLINT: a mutable view is a const view
      : data(other.data), rows(other.rows), cols(other.cols), stride(other.stride) {}

  std::span<T> row(std::size_t r) const {
    assert(r < rows);
    return {data + r * stride, cols};
  }
  T& at(std::size_t r, std::size_t c) const {
    assert(r < rows && c < cols);
    return data[r * stride + c];
  }
  /// Rows [first, first + count) and columns [first, first + count).
  MatrixView row_block(std::size_t first, std::size_t count) const {
    assert(first + count <= rows);
    return {data + first * stride, count, cols, stride};
  }
  MatrixView col_block(std::size_t first, std::size_t count) const {
    assert(first + count <= cols);
    return {data + first, rows, count, stride};
  }
};

using Matrix = MatrixView<float>;
using ConstMatrix = MatrixView<const float>;
using Vector = std::span<float>;
using ConstVector = std::span<const float>;

/// Owns a row-major f32 matrix, 64-byte aligned, contents unspecified at first.
/// Movable, not copyable.
class MatrixBuffer {
 public:
  MatrixBuffer() = default;
  MatrixBuffer(std::size_t rows, std::size_t cols);

  /// Makes the matrix [rows, cols]; contents become unspecified. Memory is kept
  /// when the new size fits, so that a step of the decoder allocates nothing.
  void resize(std::size_t rows, std::size_t cols);

  Matrix view() { return {data_.get(), rows_, cols_}; }
  ConstMatrix view() const { return {data_.get(), rows_, cols_}; }
  std::span<float> row(std::size_t r) { return view().row(r); }
  std::span<const float> row(std::size_t r) const { return view().row(r); }
  std::size_t rows() const { return rows_; }
  std::size_t cols() const { return cols_; }

 private:
  struct Free {
    void operator()(float* p) const;
  };
  std::unique_ptr<float[], Free> data_;
  std::size_t capacity_ = 0;
  std::size_t rows_ = 0;
  std::size_t cols_ = 0;
};

}  // namespace reelfolio::engine
