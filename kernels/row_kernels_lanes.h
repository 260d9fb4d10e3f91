// Row kernels as templates over lanes (lanes_portable.h). The last, partial step of a row does the arithmetic of whole
// ones on padded lanes. Included by row_kernels*.cc only.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/attention_lanes.h"
#include "kernels/attention_tile.h"
#include "kernels/float_functions.h"
#include "kernels/quantise_lanes.h"
#include "kernels/row_kernels.h"

namespace junto {

/// Calls step(offset, lanes) for all of 0..count, lanes being 16 but in the last step.
template <class Step>
inline void each_step(std::size_t count, Step step) {
  std::size_t i = 0;
  for (; i + 16 <= count; i += 16) step(i, 16);
  if (i < count) step(i, static_cast<int>(count - i));
}

template <class L>
inline typename L::F load_some(const float* p, int count) {
  return count == L::kCount ? L::load(p) : L::load_part(p, count);
}

template <class L>
inline void store_some(float* p, typename L::F a, int count) {
  count == L::kCount ? L::store(p, a) : L::store_part(p, a, count);
}

/// Sum of squares of x - mean, in four rounds of lanes.
template <class L>
float sum_squares(const float* x, std::size_t count, float mean) {
  using F = typename L::F;
  const F centre = L::set(mean);
  F sums[4] = {L::zero(), L::zero(), L::zero(), L::zero()};
  std::size_t i = 0;
  for (; i + 64 <= count; i += 64) {
    for (std::size_t j = 0; j < 4; ++j) {
      const F d = L::sub(L::load(x + i + 16 * j), centre);
      sums[j] = L::fma(d, d, sums[j]);
    }
  }
  each_step(count - i, [&](std::size_t at, int lanes) {
    // Lanes beyond the end must count as the mean.
    float padded[16];
    L::store(padded, centre);
    L::store_part(padded, load_some<L>(x + i + at, lanes), lanes);
    const F d = L::sub(L::load(padded), centre);
    sums[0] = L::fma(d, d, sums[0]);
  });
  return L::sum(L::add(L::add(sums[0], sums[1]), L::add(sums[2], sums[3])));
}

template <class L>
void rms_norm_lanes(const float* x, const float* weight, std::size_t count, float eps, float* out) {
  const float mean_square = sum_squares<L>(x, count, 0) / static_cast<float>(count);
  const auto scale = L::set(1 / __builtin_sqrtf(mean_square + eps));
  each_step(count, [&](std::size_t i, int lanes) {
    auto value = L::mul(load_some<L>(x + i, lanes), scale);
    if (weight != nullptr) value = L::mul(value, load_some<L>(weight + i, lanes));
    store_some<L>(out + i, value, lanes);
  });
}

template <class L>
void layer_norm_lanes(const float* x, const float* weight, const float* bias, std::size_t count, float eps,
                      float* out) {
  auto sums = L::zero();
  each_step(count, [&](std::size_t i, int lanes) { sums = L::add(sums, load_some<L>(x + i, lanes)); });
  const float mean = L::sum(sums) / static_cast<float>(count);
  const float variance = sum_squares<L>(x, count, mean) / static_cast<float>(count);
  const auto scale = L::set(1 / __builtin_sqrtf(variance + eps)), centre = L::set(mean);
  each_step(count, [&](std::size_t i, int lanes) {
    auto value = L::mul(L::sub(load_some<L>(x + i, lanes), centre), scale);
    if (weight != nullptr) value = L::mul(value, load_some<L>(weight + i, lanes));
    if (bias != nullptr) value = L::add(value, load_some<L>(bias + i, lanes));
    store_some<L>(out + i, value, lanes);
  });
}

template <class L>
void l2_norm_lanes(const float* x, std::size_t count, float eps, float* out) {
  const auto scale = L::set(1 / __builtin_sqrtf(sum_squares<L>(x, count, 0) + eps));
  each_step(count, [&](std::size_t i, int lanes) {
    store_some<L>(out + i, L::mul(load_some<L>(x + i, lanes), scale), lanes);
  });
}

template <class L, ActivationFunction kFunction>
inline typename L::F activate(typename L::F x) {
  if constexpr (kFunction == ActivationFunction::kSilu) {
    return L::div(x, L::add(L::set(1.0f), exp_lanes<L>(L::sub(L::zero(), x))));
  } else if constexpr (kFunction == ActivationFunction::kGeluTanh) {
    // x * sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3)
    const auto cubic = L::fma(L::mul(x, x), L::set(0.044715f), L::set(1.0f));
    const auto minus_2u = L::mul(L::mul(x, cubic), L::set(-1.59576912f));
    return L::div(x, L::add(L::set(1.0f), exp_lanes<L>(minus_2u)));
  } else if constexpr (kFunction == ActivationFunction::kGeluErf) {
    return L::mul(x, normal_cdf_lanes<L>(x));
  } else if constexpr (kFunction == ActivationFunction::kRelu) {
    return L::max(L::zero(), x);
  } else if constexpr (kFunction == ActivationFunction::kReluSquared) {
    const auto positive = L::max(L::zero(), x);
    return L::mul(positive, positive);
  } else if constexpr (kFunction == ActivationFunction::kSigmoid) {
    return sigmoid_lanes<L>(x);
  } else {
    return tanh_lanes<L>(x);
  }
}

template <class L, ActivationFunction kFunction>
void activation_row(const float* gate, const float* up, std::size_t count, float* out) {
  each_step(count, [&](std::size_t i, int lanes) {
    auto value = activate<L, kFunction>(load_some<L>(gate + i, lanes));
    if (up != nullptr) value = L::mul(value, load_some<L>(up + i, lanes));
    store_some<L>(out + i, value, lanes);
  });
}

template <class L>
void gated_lanes(ActivationFunction f, const float* gate, const float* up, std::size_t count, float* out) {
  using enum ActivationFunction;
  switch (f) {
    case kSilu:
      return activation_row<L, kSilu>(gate, up, count, out);
    case kGeluTanh:
      return activation_row<L, kGeluTanh>(gate, up, count, out);
    case kGeluErf:
      return activation_row<L, kGeluErf>(gate, up, count, out);
    case kRelu:
      return activation_row<L, kRelu>(gate, up, count, out);
    case kReluSquared:
      return activation_row<L, kReluSquared>(gate, up, count, out);
    case kSigmoid:
      return activation_row<L, kSigmoid>(gate, up, count, out);
    case kTanh:
      return activation_row<L, kTanh>(gate, up, count, out);
  }
}

template <class L>
void activation_lanes(ActivationFunction f, const float* x, std::size_t count, float* out) {
  gated_lanes<L>(f, x, nullptr, count, out);
}

template <class L>
void swiglu_clamped_lanes(const float* gate, const float* up, std::size_t count, float limit, float alpha, float* out) {
  const auto high = L::set(limit), low = L::set(-limit), slope = L::set(alpha);
  each_step(count, [&](std::size_t i, int lanes) {
    const auto g = L::min(high, load_some<L>(gate + i, lanes));
    const auto u = L::min(high, L::max(low, load_some<L>(up + i, lanes)));
    const auto glu = L::mul(g, sigmoid_lanes<L>(L::mul(slope, g)));
    store_some<L>(out + i, L::fma(u, glu, glu), lanes);
  });
}

template <class L>
void softcap_lanes(float* x, std::size_t count, float cap) {
  const auto size = L::set(cap), inverse = L::set(1 / cap);
  each_step(count, [&](std::size_t i, int lanes) {
    store_some<L>(x + i, L::mul(size, tanh_lanes<L>(L::mul(load_some<L>(x + i, lanes), inverse))), lanes);
  });
}

template <class L>
float largest_lanes(const float* x, std::size_t count) {
  const auto floor = L::set(-__builtin_inff());
  auto most = floor;
  each_step(count, [&](std::size_t i, int lanes) {
    if (lanes == L::kCount) {
      most = L::max(L::load(x + i), most);
      return;
    }
    float padded[16];
    L::store(padded, floor);
    L::store_part(padded, L::load_part(x + i, lanes), lanes);
    most = L::max(L::load(padded), most);
  });
  return L::largest(most);
}

template <class L>
float exp_in_place_lanes(float* x, std::size_t count, float shift) {
  const auto minus = L::set(shift);
  auto sums = L::zero();
  each_step(count, [&](std::size_t i, int lanes) {
    const auto value = exp_lanes<L>(L::sub(load_some<L>(x + i, lanes), minus));
    store_some<L>(x + i, value, lanes);
    sums = L::add(sums, load_some<L>(x + i, lanes));
  });
  return L::sum(sums);
}

template <class L>
void scale_lanes(float* x, std::size_t count, float factor) {
  const auto by = L::set(factor);
  each_step(count,
            [&](std::size_t i, int lanes) { store_some<L>(x + i, L::mul(load_some<L>(x + i, lanes), by), lanes); });
}

template <class L>
void rotate_halves_lanes(float* x, const float* cosines, const float* sines, std::size_t half) {
  each_step(half, [&](std::size_t i, int lanes) {
    const auto a = load_some<L>(x + i, lanes), b = load_some<L>(x + half + i, lanes);
    const auto cosine = load_some<L>(cosines + i, lanes), sine = load_some<L>(sines + i, lanes);
    store_some<L>(x + i, L::fnma(b, sine, L::mul(a, cosine)), lanes);
    store_some<L>(x + half + i, L::fma(a, sine, L::mul(b, cosine)), lanes);
  });
}

template <class L>
void rotate_neighbours_lanes(float* x, const float* cosines, const float* sines, std::size_t half) {
  each_step(half, [&](std::size_t i, int lanes) {
    float a[16] = {}, b[16] = {};
    for (int l = 0; l < lanes; ++l) a[l] = x[2 * (i + l)], b[l] = x[2 * (i + l) + 1];
    const auto first = L::load(a), second = L::load(b);
    const auto cosine = load_some<L>(cosines + i, lanes), sine = load_some<L>(sines + i, lanes);
    L::store(a, L::fnma(second, sine, L::mul(first, cosine)));
    L::store(b, L::fma(first, sine, L::mul(second, cosine)));
    for (int l = 0; l < lanes; ++l) x[2 * (i + l)] = a[l], x[2 * (i + l) + 1] = b[l];
  });
}

/// 32 values (zeros beyond `count`) to int8 with one scale.
template <class L>
inline void quantise_group(const float* x, int count, Q8Group& out) {
  typename L::F parts[2];
  for (int half = 0; half < 2; ++half) {
    const int lanes = count - 16 * half;
    parts[half] = lanes >= 16 ? L::load(x + 16 * half) : lanes > 0 ? L::load_part(x + 16 * half, lanes) : L::zero();
  }
  quantise_lanes<L>(parts, out);
}

template <class L>
void quantise_q8_lanes(const float* x, std::size_t count, std::size_t groups, Q8Group* out) {
  for (std::size_t g = 0; g < groups; ++g) {
    const std::size_t left = 32 * g < count ? count - 32 * g : 0;
    quantise_group<L>(x + (left > 0 ? 32 * g : 0), left < 32 ? static_cast<int>(left) : 32, out[g]);
  }
}

template <class L>
constexpr RowKernels make_row_kernels() {
  RowKernels k{};
  k.rms_norm = rms_norm_lanes<L>;
  k.layer_norm = layer_norm_lanes<L>;
  k.l2_norm = l2_norm_lanes<L>;
  k.activation = activation_lanes<L>;
  k.gated = gated_lanes<L>;
  k.swiglu_clamped = swiglu_clamped_lanes<L>;
  k.softcap = softcap_lanes<L>;
  k.largest = largest_lanes<L>;
  k.exp_in_place = exp_in_place_lanes<L>;
  k.scale = scale_lanes<L>;
  k.rotate_halves = rotate_halves_lanes<L>;
  k.rotate_neighbours = rotate_neighbours_lanes<L>;
  k.dot_keys_f32 = dot_keys_lanes<L, RowsF32<L>>;
  k.dot_keys_f16 = dot_keys_lanes<L, RowsF16<L>>;
  k.dot_keys_q8_0 = dot_keys_q8_0_lanes<L>;
  k.accumulate_f32 = accumulate_lanes<L, RowsF32<L>>;
  k.accumulate_f16 = accumulate_lanes<L, RowsF16<L>>;
  k.accumulate_q8_0 = accumulate_q8_0_lanes<L>;
  k.score_page_f32 = score_page_lanes<L, RowsF32<L>>;
  k.score_page_f16 = score_page_lanes<L, RowsF16<L>>;
  k.score_page_q8_0 = score_page_q8_0_lanes<L>;
  k.add_values_f32 = add_values_lanes<L, RowsF32<L>>;
  k.add_values_f16 = add_values_lanes<L, RowsF16<L>>;
  k.add_values_q8_0 = add_values_q8_0_lanes<L>;
  k.store_f16 = store_f16_lanes<L>;
  k.store_q8_0 = store_q8_0_lanes<L>;
  k.quantise_q8 = quantise_q8_lanes<L>;
  return k;
}

}  // namespace junto
