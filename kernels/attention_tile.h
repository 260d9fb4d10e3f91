// Attention of several queries at once over a page, as templates over lanes: what is loaded of a page serves all
// queries of a tile, and the keys stand by dimension, so that no sum goes across lanes. A query's arithmetic is the
// same in every tile. Included by row_kernels_lanes.h only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "kernels/attention.h"
#include "kernels/attention_lanes.h"

namespace junto {

/// Calls tile.operator()<n>(first) for all of 0..queries, n queries at a time, L::kQueryTile of them but in the end.
template <class L, int kTile = L::kQueryTile, class Tile>
inline void each_query_tile(int queries, Tile&& tile, int first = 0) {
  for (; queries - first >= kTile; first += kTile) tile.template operator()<kTile>(first);
  if constexpr (kTile > 1) {
    if (first < queries) each_query_tile<L, kTile - 1>(queries, tile, first);
  }
}

/// sums[t] = (columns 0..15, columns 16..31) += sum over k of factor(t, k) * row k.
template <class L, int kTile, class Load, class Factor>
[[gnu::always_inline]] inline void add_rows(std::size_t count, Load load, Factor factor, typename L::F (&low)[kTile],
                                            typename L::F (&high)[kTile]) {
  for (std::size_t k = 0; k < count; ++k) {
    const auto first = load(k, 0), second = load(k, 16);
#pragma GCC unroll 4
    for (int t = 0; t < kTile; ++t) {
      const auto by = L::set(factor(t, k));
      low[t] = L::fma(by, first, low[t]);
      high[t] = L::fma(by, second, high[t]);
    }
  }
}

template <class L, int kTile>
inline void clear(typename L::F (&low)[kTile], typename L::F (&high)[kTile]) {
#pragma GCC unroll 4
  for (int t = 0; t < kTile; ++t) low[t] = high[t] = L::zero();
}

template <class L, class Rows>
void score_page_lanes(const float* const* q, int queries, std::size_t dim, const std::byte* keys,
                      float* const* scores) {
  constexpr std::size_t kRow = kPageKeys * Rows::kBytes;
  each_query_tile<L>(queries, [&]<int kTile>(int first) {
    typename L::F low[kTile], high[kTile];
    clear<L>(low, high);
    add_rows<L, kTile>(
        dim, [&](std::size_t d, std::size_t at) { return Rows::load(keys + d * kRow, at); },
        [&](int t, std::size_t d) { return q[first + t][d]; }, low, high);
    for (int t = 0; t < kTile; ++t) {
      L::store(scores[first + t], low[t]);
      L::store(scores[first + t] + 16, high[t]);
    }
  });
}

template <class L>
void score_page_q8_0_lanes(const float* const* q, int queries, std::size_t dim, const std::byte* keys,
                           float* const* scores) {
  const auto* scales = reinterpret_cast<const std::uint16_t*>(keys);
  const auto* quants = reinterpret_cast<const std::int8_t*>(keys) + (dim + 31) / 32 * kPageKeys * sizeof(*scales);
  each_query_tile<L>(queries, [&]<int kTile>(int first) {
    typename L::F low[kTile], high[kTile];
    clear<L>(low, high);
    for (std::size_t begin = 0; begin < dim; begin += 32) {
      typename L::F part_low[kTile], part_high[kTile];
      clear<L>(part_low, part_high);
      add_rows<L, kTile>(
          dim - begin < 32 ? dim - begin : 32,
          [&](std::size_t d, std::size_t at) { return L::load_int8(quants + (begin + d) * kPageKeys + at); },
          [&](int t, std::size_t d) { return q[first + t][begin + d]; }, part_low, part_high);
      const auto scale = L::load_half(scales + begin), second_scale = L::load_half(scales + begin + 16);
#pragma GCC unroll 4
      for (int t = 0; t < kTile; ++t) {
        low[t] = L::fma(part_low[t], scale, low[t]);
        high[t] = L::fma(part_high[t], second_scale, high[t]);
      }
    }
    for (int t = 0; t < kTile; ++t) {
      L::store(scores[first + t], low[t]);
      L::store(scores[first + t] + 16, high[t]);
    }
  });
}

/// Columns d .. d + width (at most 32) of `out` in registers while `body(low, high)` adds to them.
template <class L, int kTile, class Body>
[[gnu::always_inline]] inline void with_columns(float* const* out, std::size_t d, std::size_t width, Body body) {
  typename L::F low[kTile], high[kTile];
  const int first = width < 16 ? static_cast<int>(width) : 16, second = static_cast<int>(width) - first;
#pragma GCC unroll 4
  for (int t = 0; t < kTile; ++t) {
    low[t] = width >= 16 ? L::load(out[t] + d) : L::load_part(out[t] + d, first);
    high[t] = width >= 32 ? L::load(out[t] + d + 16) : second > 0 ? L::load_part(out[t] + d + 16, second) : L::zero();
  }
  body(low, high);
#pragma GCC unroll 4
  for (int t = 0; t < kTile; ++t) {
    width >= 16 ? L::store(out[t] + d, low[t]) : L::store_part(out[t] + d, low[t], first);
    if (second > 0) width >= 32 ? L::store(out[t] + d + 16, high[t]) : L::store_part(out[t] + d + 16, high[t], second);
  }
}

template <class L, class Rows>
void add_values_lanes(const float* const* weights, int queries, std::size_t count, const std::byte* values,
                      std::size_t stride, std::size_t dim, float* const* out) {
  each_query_tile<L>(queries, [&]<int kTile>(int first) {
    const auto factor = [&](int t, std::size_t i) { return weights[first + t][i]; };
    for (std::size_t d = 0; d < dim; d += 32) {
      const std::size_t width = dim - d < 32 ? dim - d : 32;
      with_columns<L, kTile>(out + first, d, width, [&](auto& low, auto& high) {
        if (width == 32) {
          add_rows<L, kTile>(
              count, [&](std::size_t i, std::size_t at) { return Rows::load(values + i * stride, d + at); }, factor,
              low, high);
          return;
        }
        add_rows<L, kTile>(
            count,
            [&](std::size_t i, std::size_t at) {
              const int left = width < at ? 0 : width - at < 16 ? static_cast<int>(width - at) : 16;
              return left > 0 ? Rows::load_part(values + i * stride, d + at, left) : L::zero();
            },
            factor, low, high);
      });
    }
  });
}

/// F16 scales of block d / 32 of up to 32 rows, in float.
template <class L>
inline void load_scales(const std::byte* block, std::size_t stride, std::size_t count, float (&scales)[kPageKeys]) {
  std::uint16_t halves[kPageKeys] = {};
  for (std::size_t i = 0; i < count; ++i) std::memcpy(&halves[i], block + i * stride, sizeof halves[i]);
  L::store(scales, L::load_half(halves));
  L::store(scales + 16, L::load_half(halves + 16));
}

template <class L>
void add_values_q8_0_lanes(const float* const* weights, int queries, std::size_t count, const std::byte* values,
                           std::size_t stride, std::size_t dim, float* const* out) {
  for (std::size_t d = 0; d < dim; d += 32) {
    const std::byte* block = values + d / 32 * kQ8Block;
    float scales[kPageKeys];
    load_scales<L>(block, stride, count, scales);
    each_query_tile<L>(queries, [&]<int kTile>(int first) {
      with_columns<L, kTile>(out + first, d, dim - d < 32 ? dim - d : 32, [&](auto& low, auto& high) {
        add_rows<L, kTile>(
            count,
            [&](std::size_t i, std::size_t at) {
              return L::load_int8(reinterpret_cast<const std::int8_t*>(block + i * stride + 2) + at);
            },
            [&](int t, std::size_t i) { return weights[first + t][i] * scales[i]; }, low, high);
      });
    });
  }
}

}  // namespace junto
