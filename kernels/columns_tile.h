// The kernel of columns as a template: one row of x against a block of 32 outputs that lies by column (columns.h). L is
// a page of tile lanes, Q one of lanes, Units those of the type.
//
// All outputs of a block share the scale of a column, so it goes to the input: x times scales in Q8, 32 columns at a
// time, then the exact integer products of other matrices.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/columns.h"
#include "kernels/quantise_lanes.h"
#include "kernels/units_32.h"

namespace junto {

/// x[i] * F16(scales[i]) for `count` columns, at most 32, in Q8.
template <class Q>
inline void quantise_scaled(const float* x, const std::byte* scales, int count, Q8Group& out) {
  const auto* halves = reinterpret_cast<const std::uint16_t*>(scales);
  typename Q::F parts[2];
  for (int half = 0; half < 2; ++half) {
    const int lanes = count - 16 * half;
    const auto values = lanes >= 16 ? Q::load(x + 16 * half)
                        : lanes > 0 ? Q::load_part(x + 16 * half, lanes)
                                    : Q::zero();
    parts[half] = Q::mul(values, Q::load_half(halves + 16 * half));
  }
  quantise_lanes<Q>(parts, out);
}

/// The words of 16 outputs, half 0 or 1 of a group, from `first_row` of them on. A scale of 1: the input has it.
template <class L, class Units, int kHalf>
inline void unpack_columns(const std::byte* group, int present, int first_row, UnpackedGroup<L>& out) {
  if constexpr (std::is_same_v<Units, UnitsQ8_0<L>>) {
    const std::byte* from = group + kColumnScaleBytes + 64 * kHalf * present + 4 * first_row;
    for (int w = 0; w < 8; ++w) out.words[w] = L::from_signed(w < present ? L::load_words(from + 64 * w) : L::bits(0));
  } else {
    Units::template unpack<kHalf>(group, typename Units::Header(group, first_row), first_row, out);
  }
  out.scale[0] = L::set(1.0f);
}

template <class L, class Q, class Units>
void column_kernel(const std::byte* block, std::int64_t cols, const float* x, float* sums) {
  constexpr int kParts = kInterleavedTileRows / L::kRows;
  typename L::F acc[2 * kParts];
  for (auto& sum : acc) sum = L::zero();
  for (std::int64_t first = 0; first < cols; first += kColumnGroup) {
    Q8Group group;
    const auto count = static_cast<int>(cols - first < kColumnGroup ? cols - first : kColumnGroup);
    quantise_scaled<Q>(x + first, block, count, group);
    const auto present = static_cast<int>(column_words(count));
    const auto add = [&]<int kHalf>() {
      for (int part = 0; part < kParts; ++part) {
        UnpackedGroup<L> unpacked;
        unpack_columns<L, Units, kHalf>(block, present, part * L::kRows, unpacked);
        auto& sum = acc[kHalf * kParts + part];
        sum = add_group<L, Units>(unpacked, group, sum);
      }
    };
    add.template operator()<0>();
    add.template operator()<1>();
    const bool fewer = std::is_same_v<Units, UnitsQ8_0<L>>;
    block += fewer ? kColumnScaleBytes + 2 * 64 * static_cast<std::size_t>(present) : Units::kBytes;
  }
  for (int part = 0; part < 2 * kParts; ++part) L::store(sums + part * L::kRows, acc[part]);
}

/// The kernels of a type whose units have two groups of 16 rows, with that of its columns.
template <class L, class Q, template <class> class Units>
constexpr MatmulKernel with_columns(MatmulKernel rows) {
  rows.columns = column_kernel<L, Q, Units<L>>;
  return rows;
}

}  // namespace junto
