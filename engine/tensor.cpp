#include "engine/tensor.h"

#include <cstring>
#include <new>

namespace reelfolio::engine {

namespace {

constexpr std::size_t kTensorAlignment = 64;  // one cache line, one AVX-512 register

}  // namespace

std::size_t dtype_bytes(DType dtype) {
  switch (dtype) {
    case DType::f64:
    case DType::i64:
      return 8;
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::f16:
    case DType::bf16:
    case DType::i16:
      return 2;
    case DType::i8:
    case DType::u8:
    case DType::boolean:
      return 1;
  }
  return 0;
}

std::string_view dtype_name(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "F32";
    case DType::f16:
      return "F16";
    case DType::bf16:
      return "BF16";
    case DType::f64:
      return "F64";
    case DType::i64:
      return "I64";
    case DType::i32:
      return "I32";
    case DType::i16:
      return "I16";
    case DType::i8:
      return "I8";
    case DType::u8:
      return "U8";
    case DType::boolean:
      return "BOOL";
  }
  return "?";
}

float bf16_to_f32(std::uint16_t bits) {
  const std::uint32_t wide = static_cast<std::uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

float f16_to_f32(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000U) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1FU;
  const std::uint32_t fraction = bits & 0x3FFU;
  if (exponent == 0) {
    // Zero and subnormals: fraction * 2^-24 is exact in f32.
    const float magnitude = static_cast<float>(fraction) * 0x1p-24F;
    return sign != 0 ? -magnitude : magnitude;
  }
  const std::uint32_t wide_exponent = exponent == 31 ? 255U : exponent + 112U;
  const std::uint32_t wide = sign | (wide_exponent << 23) | (fraction << 13);
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

std::uint16_t f32_to_bf16(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) {
    // Set the quiet bit: the payload's upper bits alone may be zero, which would read as infinity.
    return static_cast<std::uint16_t>((bits >> 16) | 0x40U);
  }
  return static_cast<std::uint16_t>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16);
}

MatrixBuffer::MatrixBuffer(std::size_t rows, std::size_t cols) {
  resize(rows, cols);
}

void MatrixBuffer::resize(std::size_t rows, std::size_t cols) {
  const std::size_t count = rows * cols;
  if (count > capacity_) {
    data_.reset();
    capacity_ = 0;
    data_.reset(
        static_cast<float*>(::operator new[](count * sizeof(float), std::align_val_t{kTensorAlignment})));
    capacity_ = count;
  }
  rows_ = rows;
  cols_ = cols;
}

void MatrixBuffer::Free::operator()(float* p) const {
  ::operator delete[](p, std::align_val_t{kTensorAlignment});
}

}  // namespace reelfolio::engine
