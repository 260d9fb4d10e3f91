// The matrix kernels where 16 interleaved rows are two registers and sixteen registers are all there are (AVX2). With
// one row of x this is matmul_tile.h. With more, both registers meet each four columns of x while these stand in a
// register: a third fewer loads than one register after the other, and loads are what bounds that.
//
// Integer sums are exact and the floats of each row come in the order of add_group(), so a row's bits are the same.
#pragma once

#include "kernels/matmul_tile.h"

namespace junto {

// Rows of x whose integer sums stand in registers together: twice as many sums, two of weights, one of x.
inline constexpr int kRowsInRegisters = 4;

/// first[t], second[t] += kCount rows of x, from x[0][at] on, times both halves of a group. Never inlined: the groups
/// of a unit share this code, which else would not fit where the processor keeps decoded instructions.
template <class L, class Units, int kCount>
[[gnu::noinline]] void add_rows_of_pair(const UnpackedGroup<L>* w, const Q8Group* const* x, std::ptrdiff_t at,
                                        typename L::F* first, typename L::F* second) {
  constexpr WeightRange kRange = Units::kRange;
  constexpr int kOffset = kRange == WeightRange::kSigned ? (L::kSignedOffset == 128 ? 7 : -1) : Units::kOffsetShift;
  constexpr int kParts = Units::kHalves ? 2 : 1, kWords = 8 / kParts;
  typename L::F* const acc[2] = {first, second};
  typename L::F part[2][kCount];
#pragma GCC unroll 2
  for (int p = 0; p < kParts; ++p) {
    const std::int8_t* columns[kCount];
    typename L::I dot[2][kCount];
#pragma GCC unroll 4
    for (int t = 0; t < kCount; ++t) {
      const Q8Group& group = x[t][at];
      columns[t] = group.quant + 16 * p;
      const std::int32_t minus_sum = kOffset < 0 ? 0 : Units::kHalves ? group.minus_sums16[p] : group.minus_sum;
      dot[0][t] = dot[1][t] = L::shifted(minus_sum, kOffset < 0 ? 0 : kOffset);
    }
    L::template dot_tile<kRange, kWords, kCount>(w[0].words + kWords * p, w[1].words + kWords * p, columns, dot);
#pragma GCC unroll 4
    for (int t = 0; t < kCount; ++t) {
      const Q8Group& group = x[t][at];
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        const auto value = L::to_float(dot[half][t]);
        auto& sum = acc[half][t];
        if constexpr (!Units::kHalves) {
          sum = L::fma(value, L::mul(w[half].scale[0], L::set(group.scale)), sum);
          if constexpr (Units::kHasMin) sum = L::fma(w[half].min[0], L::set(group.scaled_minus_sum), sum);
        } else if (p == 0) {
          part[half][t] = L::mul(value, w[half].scale[0]);
        } else {
          auto both = L::fma(value, w[half].scale[1], part[half][t]);
          if constexpr (Units::kHasMin) {
            both = L::fma(w[half].min[0], L::set(group.minus_sums16[0]), both);
            both = L::fma(w[half].min[1], L::set(group.minus_sums16[1]), both);
          }
          sum = L::fma(both, L::set(group.scale), sum);
        }
      }
    }
  }
}

/// Group kG of a unit, unpacked once for the whole tile.
template <class L, class Units, int kG, int kTokens>
inline void add_pair(const std::byte* unit, const typename Units::Header (&header)[2],
                     const Q8Group* const (&x)[kTokens], std::ptrdiff_t at, typename L::F (&acc)[2][kTokens]) {
  constexpr std::size_t kBegin = kG * Units::kBytes / Units::kGroups / 64;
  constexpr std::size_t kEnd = (kG + 1) * Units::kBytes / Units::kGroups / 64;
  for (std::size_t line = kBegin; line < kEnd; ++line) L::prefetch(unit + kPrefetchBytes + 64 * line);
  UnpackedGroup<L> unpacked[2];
  Units::template unpack<kG>(unit, header[0], 0, unpacked[0]);
  Units::template unpack<kG>(unit, header[1], L::kRows, unpacked[1]);
  constexpr int kFew = kTokens < kRowsInRegisters ? kTokens : kRowsInRegisters;
  add_rows_of_pair<L, Units, kFew>(unpacked, x, at + kG, acc[0], acc[1]);
  if constexpr (kTokens > kFew)
    add_rows_of_pair<L, Units, kTokens - kFew>(unpacked, x + kFew, at + kG, acc[0] + kFew, acc[1] + kFew);
}

/// sums[t][16] += `groups` groups of columns times kTokens rows of x: add_units() for two rows and more.
template <class L, class Units, int kTokens, int... kGroup>
void add_pairs(const std::byte* w, std::int64_t groups, const Q8Group* const* x, float* sums,
               std::integer_sequence<int, kGroup...>) {
  static_assert(2 * L::kRows == kInterleavedTileRows && kTokens <= 2 * kRowsInRegisters);
  const Q8Group* rows[kTokens];
  typename L::F acc[2][kTokens];
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; ++t) {
    rows[t] = x[t];
    acc[0][t] = L::load(sums + t * kInterleavedTileRows);
    acc[1][t] = L::load(sums + t * kInterleavedTileRows + L::kRows);
  }
  for (std::int64_t at = 0; at < groups; at += Units::kGroups, w += Units::kBytes) {
    const typename Units::Header header[2] = {{w, 0}, {w, L::kRows}};
    const auto add = [&]<int kG>() {
      if (at + kG < groups) add_pair<L, Units, kG>(w, header, rows, at, acc);
    };
    (add.template operator()<kGroup>(), ...);
  }
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; ++t) {
    L::store(sums + t * kInterleavedTileRows, acc[0][t]);
    L::store(sums + t * kInterleavedTileRows + L::kRows, acc[1][t]);
  }
}

template <class L, class Units, int kTokens>
void add_units_or_pairs(const std::byte* w, std::int64_t groups, const Q8Group* const* x, float* sums) {
  if constexpr (kTokens == 1) return add_units<L, Units, 1>(w, groups, x, sums);
  add_pairs<L, Units, kTokens>(w, groups, x, sums, std::make_integer_sequence<int, Units::kGroups>());
}

template <class L, class Units, int... kIndex>
void q8_pairs_tile(const std::byte* w, std::int64_t groups, const Q8Group* const* x, int tokens, float* sums,
                   std::integer_sequence<int, kIndex...>) {
  using Tile = void (*)(const std::byte*, std::int64_t, const Q8Group* const*, float*);
  static constexpr Tile kTiles[] = {add_units_or_pairs<L, Units, kIndex + 1>...};
  kTiles[tokens - 1](w, groups, x, sums);
}

template <class L, class Units>
void q8_pairs_kernel(const std::byte* w, std::int64_t groups, const Q8Group* const* x, int tokens, float* sums) {
  q8_pairs_tile<L, Units>(w, groups, x, tokens, sums, std::make_integer_sequence<int, L::kMaxTile>());
}

/// A row of the table.
template <class L, template <class> class Units>
constexpr MatmulKernel make_q8_pairs_kernel(DType type) {
  return {type, q8_pairs_kernel<L, Units<L>>, nullptr, L::kMaxTile};
}

}  // namespace junto
