// What stands between an expert's matrices, with the combine weight folded in, over rows, forward and backward.
#pragma once

#include <cstdint>

#include "moe/expert_kind.h"

namespace junto {

/// Columns of the first product for hidden width `width`: gate, then up where the activation is gated.
constexpr std::int64_t projected_width(const Activation& activation, std::int64_t width) {
  return activation.gated ? 2 * width : width;
}

/// hidden[r, h] = weight[r] * act(gate[r, h]) * up[r, h], or weight[r] * act(up[r, h]) without a gate; [rows, H].
/// projected [rows, 2H or H]. All kinds but kSwigluOai.
template <class T>
void weighted_activation(const Activation& activation, const T* projected, const T* weight, std::int64_t rows,
                         std::int64_t width, T* hidden);

/// From d_hidden [rows, H]: d_projected, like projected, and d_weight [rows].
template <class T>
void weighted_activation_backward(const Activation& activation, const T* projected, const T* weight, const T* d_hidden,
                                  std::int64_t rows, std::int64_t width, T* d_projected, T* d_weight);

}  // namespace junto
