// Activations to Q8 on a page of lanes (lanes_portable.h). Included by the files of one instruction set only.
#pragma once

#include <cstdint>
#include <limits>

#include "kernels/matmul.h"

namespace junto {

/// 32 values to int8 with one scale. A value that is not finite makes the scale NaN, so that what is computed from it
/// shows it. Below `kLeast` the inverse would overflow, and no sum would notice the values.
template <class L>
inline void quantise_lanes(const typename L::F (&parts)[2], Q8Group& out) {
  constexpr float kLeast = 1e-35f, kFinite = std::numeric_limits<float>::max();
  const float most = L::largest_magnitude(parts[0], parts[1]);
  const bool finite = most <= kFinite, large = finite && most >= kLeast;
  out.scale = large ? most / 127 : finite ? 0.0f : __builtin_nanf("");
  const auto inverse = L::set(large ? 127 / most : 0.0f);
  out.minus_sum = 0;
  for (int half = 0; half < 2; ++half) {
    std::int8_t* quants = out.quant + 16 * half;
    L::store_int8(quants, finite ? L::round(L::mul(parts[half], inverse)) : L::zero());
    out.minus_sums16[half] = static_cast<std::int16_t>(-L::sum_int8(quants));
    out.minus_sum += out.minus_sums16[half];
  }
  out.scaled_minus_sum = out.scale * static_cast<float>(out.minus_sum);
}

}  // namespace junto
