// Attention's inner products over stored rows, as templates over lanes. Included by row_kernels_lanes.h only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "tensor/half.h"

namespace junto {

/// Rows of floats or halves: how 16 values are loaded.
template <class L>
struct RowsF32 {
  static constexpr std::size_t kBytes = 4;
  static typename L::F load(const std::byte* row, std::size_t at) {
    return L::load(reinterpret_cast<const float*>(row) + at);
  }
  static typename L::F load_part(const std::byte* row, std::size_t at, int count) {
    return L::load_part(reinterpret_cast<const float*>(row) + at, count);
  }
};

template <class L>
struct RowsF16 {
  static constexpr std::size_t kBytes = 2;
  static typename L::F load(const std::byte* row, std::size_t at) {
    return L::load_half(reinterpret_cast<const std::uint16_t*>(row) + at);
  }
  static typename L::F load_part(const std::byte* row, std::size_t at, int count) {
    return L::load_half_part(reinterpret_cast<const std::uint16_t*>(row) + at, count);
  }
};

template <class L, class Rows>
void dot_keys_lanes(const float* q, std::size_t dim, const std::byte* keys, std::size_t stride, std::size_t count,
                    float* scores) {
  const std::size_t whole = dim / 16 * 16;
  const int rest = static_cast<int>(dim - whole);
  for (std::size_t i = 0; i < count; ++i) {
    const std::byte* key = keys + i * stride;
    auto sums = L::zero();
    for (std::size_t d = 0; d < whole; d += 16) sums = L::fma(L::load(q + d), Rows::load(key, d), sums);
    if (rest > 0) sums = L::fma(L::load_part(q + whole, rest), Rows::load_part(key, whole, rest), sums);
    scores[i] = L::sum(sums);
  }
}

template <class L, class Rows>
void accumulate_lanes(const float* weights, std::size_t count, const std::byte* values, std::size_t stride,
                      std::size_t dim, float* out) {
  std::size_t d = 0;
  for (; d + 64 <= dim; d += 64) {  // four sums stay in registers over all rows
    typename L::F sums[4];
    for (std::size_t j = 0; j < 4; ++j) sums[j] = L::load(out + d + 16 * j);
    for (std::size_t i = 0; i < count; ++i) {
      const auto weight = L::set(weights[i]);
      for (std::size_t j = 0; j < 4; ++j) {
        sums[j] = L::fma(weight, Rows::load(values + i * stride, d + 16 * j), sums[j]);
      }
    }
    for (std::size_t j = 0; j < 4; ++j) L::store(out + d + 16 * j, sums[j]);
  }
  for (; d < dim; d += 16) {
    const int lanes = dim - d < 16 ? static_cast<int>(dim - d) : 16;
    auto sums = L::load_part(out + d, lanes);
    for (std::size_t i = 0; i < count; ++i) {
      sums = L::fma(L::set(weights[i]), Rows::load_part(values + i * stride, d, lanes), sums);
    }
    L::store_part(out + d, sums, lanes);
  }
}

// Q8_0 rows: blocks of an F16 scale and 32 int8, padded to whole blocks with zeros.
inline constexpr std::size_t kQ8Block = 34;

/// An F16 scale in float; written out here so that this stays in the file's own instruction set.
template <class L>
inline float q8_0_scale(const std::byte* block) {
  std::uint16_t padded[16] = {};
  std::memcpy(padded, block, sizeof padded[0]);
  float scale[16];
  L::store(scale, L::load_half(padded));
  return scale[0];
}

template <class L>
void dot_keys_q8_0_lanes(const float* q, std::size_t dim, const std::byte* keys, std::size_t stride, std::size_t count,
                         float* scores) {
  for (std::size_t i = 0; i < count; ++i) {
    const std::byte* block = keys + i * stride;
    auto sums = L::zero();
    for (std::size_t d = 0; d < dim; d += 32, block += kQ8Block) {
      const auto* quant = reinterpret_cast<const std::int8_t*>(block + 2);
      auto part = L::zero();
      for (std::size_t half = 0; half < 2 && d + 16 * half < dim; ++half) {
        const std::size_t left = dim - d - 16 * half;
        const auto x =
            left >= 16 ? L::load(q + d + 16 * half) : L::load_part(q + d + 16 * half, static_cast<int>(left));
        part = L::fma(x, L::load_int8(quant + 16 * half), part);
      }
      sums = L::fma(part, L::set(q8_0_scale<L>(block)), sums);
    }
    scores[i] = L::sum(sums);
  }
}

template <class L>
void accumulate_q8_0_lanes(const float* weights, std::size_t count, const std::byte* values, std::size_t stride,
                           std::size_t dim, float* out) {
  for (std::size_t d = 0; d < dim; d += 32) {
    const int first = dim - d < 16 ? static_cast<int>(dim - d) : 16;
    const int second = dim - d < 32 ? static_cast<int>(dim - d) - first : 16;
    auto low = L::load_part(out + d, first), high = second > 0 ? L::load_part(out + d + 16, second) : L::zero();
    const std::byte* block = values + d / 32 * kQ8Block;
    for (std::size_t i = 0; i < count; ++i, block += stride) {
      const auto weight = L::set(weights[i] * q8_0_scale<L>(block));
      const auto* quant = reinterpret_cast<const std::int8_t*>(block + 2);
      low = L::fma(weight, L::load_int8(quant), low);
      high = L::fma(weight, L::load_int8(quant + 16), high);
    }
    L::store_part(out + d, low, first);
    if (second > 0) L::store_part(out + d + 16, high, second);
  }
}

template <class L>
void store_f16_lanes(const float* x, std::size_t count, std::byte* row) {
  auto* out = reinterpret_cast<std::uint16_t*>(row);
  for (std::size_t i = 0; i < count; i += 16) {
    const int lanes = count - i < 16 ? static_cast<int>(count - i) : 16;
    L::store_half_part(out + i, L::load_part(x + i, lanes), lanes);
  }
}

/// The bits of encode_q8_0 for finite values; others make the block's scale NaN.
template <class L>
void store_q8_0_lanes(const float* x, std::size_t count, std::byte* row) {
  for (std::size_t i = 0; i < count; i += 32, row += kQ8Block) {
    typename L::F parts[2];
    for (std::size_t half = 0; half < 2; ++half) {
      const std::size_t at = i + 16 * half, left = at < count ? count - at : 0;
      parts[half] = L::load_part(x + (left > 0 ? at : i), left < 16 ? static_cast<int>(left) : 16);
    }
    constexpr float kFinite = std::numeric_limits<float>::max();
    const float most = L::largest_magnitude(parts[0], parts[1]);
    const bool finite = most <= kFinite;
    float scale = most / 127;
    scale = !finite ? __builtin_nanf("") : scale < 65504.0f ? scale : 65504.0f;
    std::uint16_t d;
    L::store_half_part(&d, L::set(scale), 1);
    std::memcpy(row, &d, sizeof d);
    const float rounded = q8_0_scale<L>(row);
    const auto inverse = L::set(rounded > 1e-30f ? 1 / rounded : 0.0f);
    for (std::size_t half = 0; half < 2; ++half) {
      auto q = L::mul(parts[half], inverse);
      q = !finite ? L::zero() : L::round(L::min(L::max(q, L::set(-127.0f)), L::set(127.0f)));
      L::store_int8(reinterpret_cast<std::int8_t*>(row + 2 + 16 * half), q);
    }
  }
}

}  // namespace junto
