// The matrix kernels as templates: a tile of up to kMaxTile rows of x against 16 interleaved rows of w. L is a page of
// tile lanes (tile_lanes_*.h), Units says how a unit of a format comes into registers (units_*.h).
//
// For each group of 32 columns the weights are unpacked once to 8 registers and meet every row of the tile: an exact
// integer sum, then one product with the scales and one fused sum in float. That order is the same for every tile size,
// so a row's bits do not depend on its neighbours.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "kernels/matmul_kernels.h"

namespace junto {

/// 32 columns of kRows rows of w, unpacked. The weight is scale * (word - offset) - min; scales and mins stand for 16
/// columns each where Units::kHalves is true, else only the first counts.
template <class L>
struct UnpackedGroup {
  typename L::W words[8];
  typename L::F scale[2];
  typename L::F min[2];
};

// How far ahead of use weights are prefetched. Measured (docs/performance.md): what pays at few rows per expert.
inline constexpr std::size_t kPrefetchBytes = 4096;

/// acc + one row of x times the group.
template <class L, class Units>
inline typename L::F add_group(const UnpackedGroup<L>& w, const Q8Group& x, typename L::F acc) {
  constexpr WeightRange kRange = Units::kRange;
  // Signed weights have the offset of the instruction set, others that of the format: 2^kOffsetShift, or none below 0.
  constexpr int kOffset = kRange == WeightRange::kSigned ? (L::kSignedOffset == 128 ? 7 : -1) : Units::kOffsetShift;
  const auto scale = L::set(x.scale);
  if constexpr (!Units::kHalves) {
    const auto start = kOffset >= 0 ? L::shifted(x.minus_sum, kOffset < 0 ? 0 : kOffset) : L::shifted(0, 0);
    const auto dot = L::template dot<kRange, 8>(w.words, x.quant, start);
    acc = L::fma(L::to_float(dot), L::mul(w.scale[0], scale), acc);
    if constexpr (Units::kHasMin) acc = L::fma(w.min[0], L::set(x.scaled_minus_sum), acc);
    return acc;
  } else {
    const auto start = [&](int half) {
      return L::shifted(kOffset >= 0 ? x.minus_sums16[half] : 0, kOffset < 0 ? 0 : kOffset);
    };
    const auto low = L::template dot<kRange, 4>(w.words, x.quant, start(0));
    const auto high = L::template dot<kRange, 4>(w.words + 4, x.quant + 16, start(1));
    auto part = L::mul(L::to_float(low), w.scale[0]);
    part = L::fma(L::to_float(high), w.scale[1], part);
    if constexpr (Units::kHasMin) {
      part = L::fma(w.min[0], L::set(x.minus_sums16[0]), part);
      part = L::fma(w.min[1], L::set(x.minus_sums16[1]), part);
    }
    return L::fma(part, scale, acc);
  }
}

/// One unit, rows first_row .. first_row + kRows, added to acc[t] for all rows of the tile. Groups are unrolled, so
/// that shifts and offsets are constants.
template <class L, class Units, int kTokens, int... kGroup>
inline void add_unit(const std::byte* w, const Q8Group* const (&x)[kTokens], std::ptrdiff_t at, int first_row,
                     typename L::F (&acc)[kTokens], std::integer_sequence<int, kGroup...>) {
  const typename Units::Header header(w, first_row);
  const auto add = [&]<int kG>() {
    constexpr std::size_t kBegin = kG * Units::kBytes / Units::kGroups / 64;
    constexpr std::size_t kEnd = (kG + 1) * Units::kBytes / Units::kGroups / 64;
    // One row of x is bound by memory, and there the hardware's prefetcher does better alone.
    if (kTokens > 1 && first_row == 0) {
      for (std::size_t line = kBegin; line < kEnd; ++line) L::prefetch(w + kPrefetchBytes + 64 * line);
    }
    UnpackedGroup<L> unpacked;
    Units::template unpack<kG>(w, header, first_row, unpacked);
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) acc[t] = add_group<L, Units>(unpacked, x[t][at + kG], acc[t]);
  };
  (add.template operator()<kGroup>(), ...);
}

/// The same for the first `count` groups of a unit.
template <class L, class Units, int kTokens, int... kGroup>
inline void add_first_groups(const std::byte* w, const Q8Group* const (&x)[kTokens], std::ptrdiff_t at, int first_row,
                             typename L::F (&acc)[kTokens], int count, std::integer_sequence<int, kGroup...>) {
  const auto add = [&]<int kG>() {
    if (kG < count) add_unit<L, Units, kTokens>(w, x, at, first_row, acc, std::integer_sequence<int, kG>());
  };
  (add.template operator()<kGroup>(), ...);
}

/// sums[t][16] += `groups` groups of columns times kTokens rows of x.
template <class L, class Units, int kTokens>
void add_units(const std::byte* w, std::int64_t groups, const Q8Group* const* x, float* sums) {
  const std::int64_t units = groups / Units::kGroups;
  const int rest = static_cast<int>(groups % Units::kGroups);  // of the last unit, which ends with them
  constexpr auto kGroups = std::make_integer_sequence<int, Units::kGroups>();
  const Q8Group* rows[kTokens];
  typename L::F acc[kTokens];
  const auto load = [&](int first_row) {
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) acc[t] = L::load(sums + t * kInterleavedTileRows + first_row);
  };
  const auto store = [&](int first_row) {
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) L::store(sums + t * kInterleavedTileRows + first_row, acc[t]);
  };
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; ++t) rows[t] = x[t];
  if constexpr (L::kRows == kInterleavedTileRows) {
    load(0);
    for (std::int64_t u = 0; u < units; ++u, w += Units::kBytes) {
      add_unit<L, Units, kTokens>(w, rows, u * Units::kGroups, 0, acc, kGroups);
    }
    add_first_groups<L, Units, kTokens>(w, rows, units * Units::kGroups, 0, acc, rest, kGroups);
    store(0);
  } else {
    // Registers of fewer rows: all rows of a unit in turn, so that memory is still read in one even stream.
    for (std::int64_t u = 0; u < units; ++u, w += Units::kBytes) {
      for (int first_row = 0; first_row < kInterleavedTileRows; first_row += L::kRows) {
        load(first_row);
        add_unit<L, Units, kTokens>(w, rows, u * Units::kGroups, first_row, acc, kGroups);
        store(first_row);
      }
    }
    for (int first_row = 0; rest > 0 && first_row < kInterleavedTileRows; first_row += L::kRows) {
      load(first_row);
      add_first_groups<L, Units, kTokens>(w, rows, units * Units::kGroups, first_row, acc, rest, kGroups);
      store(first_row);
    }
  }
}

// Columns of plain weights whose products are summed before they join the rest: two chains (even, odd) hide the latency
// of the sums, and calls may be cut at multiples of this without changing a bit.
inline constexpr std::int64_t kFloatBlock = 256;

template <class L, class Load, int kTokens>
void add_values(const std::byte* w, std::int64_t values, const float* const* x, float* sums) {
  constexpr int kParts = kInterleavedTileRows / L::kRows;  // registers that hold 16 rows
  constexpr std::size_t kStep = kInterleavedTileRows * Load::kBytes, kPart = L::kRows * Load::kBytes;
  typename L::F even[kParts][kTokens], odd[kParts][kTokens];
  const auto add = [&](const std::byte* at, std::int64_t k, typename L::F(&to)[kParts][kTokens]) {
    typename L::F weights[kParts];
#pragma GCC unroll 2
    for (int p = 0; p < kParts; ++p) weights[p] = Load::load(at + static_cast<std::size_t>(p) * kPart);
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) {
      const auto value = L::set(x[t][k]);
#pragma GCC unroll 2
      for (int p = 0; p < kParts; ++p) to[p][t] = L::fma(weights[p], value, to[p][t]);
    }
  };
#pragma GCC unroll 2
  for (int p = 0; p < kParts; ++p) {
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) even[p][t] = odd[p][t] = L::zero();
  }
  std::int64_t k = 0;
  for (; k + 2 <= values; k += 2, w += 2 * kStep) {
    for (std::size_t line = 0; kTokens > 1 && line < 2 * kStep / 64; ++line)
      L::prefetch(w + kPrefetchBytes + 64 * line);
    add(w, k, even);
    add(w + kStep, k + 1, odd);
  }
  if (k < values) add(w, k, even);
#pragma GCC unroll 2
  for (int p = 0; p < kParts; ++p) {
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) {
      float* sum = sums + t * kInterleavedTileRows + p * L::kRows;
      L::store(sum, L::add(L::load(sum), L::add(even[p][t], odd[p][t])));
    }
  }
}

template <class L, class Units, int... kIndex>
void q8_tile(const std::byte* w, std::int64_t groups, const Q8Group* const* x, int tokens, float* sums,
             std::integer_sequence<int, kIndex...>) {
  using Tile = void (*)(const std::byte*, std::int64_t, const Q8Group* const*, float*);
  static constexpr Tile kTiles[] = {add_units<L, Units, kIndex + 1>...};
  kTiles[tokens - 1](w, groups, x, sums);
}

template <class L, class Units>
void q8_kernel(const std::byte* w, std::int64_t groups, const Q8Group* const* x, int tokens, float* sums) {
  q8_tile<L, Units>(w, groups, x, tokens, sums, std::make_integer_sequence<int, L::kMaxTile>());
}

template <class L, class Load, int... kIndex>
void float_tile(const std::byte* w, std::int64_t values, const float* const* x, int tokens, float* sums,
                std::integer_sequence<int, kIndex...>) {
  using Tile = void (*)(const std::byte*, std::int64_t, const float* const*, float*);
  static constexpr Tile kTiles[] = {add_values<L, Load, kIndex + 1>...};
  const float* rows[8];
  for (std::int64_t begin = 0; begin < values; begin += kFloatBlock) {
    const std::int64_t count = values - begin < kFloatBlock ? values - begin : kFloatBlock;
    for (int t = 0; t < tokens; ++t) rows[t] = x[t] + begin;
    kTiles[tokens - 1](w, count, rows, sums);
    w += static_cast<std::size_t>(count) * kInterleavedTileRows * Load::kBytes;
  }
}

template <class L, class Load>
void float_kernel(const std::byte* w, std::int64_t values, const float* const* x, int tokens, float* sums) {
  float_tile<L, Load>(w, values, x, tokens, sums, std::make_integer_sequence<int, L::kMaxFloatTile>());
}

/// The rows of the tables.
template <class L, template <class> class Units>
constexpr MatmulKernel make_q8_kernel(DType type) {
  return {type, q8_kernel<L, Units<L>>, nullptr, L::kMaxTile};
}

template <class L, template <class> class Load>
constexpr MatmulKernel make_float_kernel(DType type) {
  return {type, nullptr, float_kernel<L, Load<L>>, L::kMaxFloatTile};
}

}  // namespace junto
