// Least squares for quantisation: given values and the weight of each one's squared error, find the scale (and minimum)
// of a small integer grid that loses least. Block formats build their encoders on these.
#pragma once

#include <cstdint>
#include <span>

#include "tensor/scales_k4.h"

namespace junto {

/// Integer grid low..high.
struct QuantRange {
  int low = 0;
  int high = 15;
};

/// Nearest integer, ties away from zero; finite arguments below 2^31 only.
inline int nearest_int(float value) {
  return static_cast<int>(value < 0 ? value - 0.5f : value + 0.5f);
}

/// value * inverse_scale to the nearest grid point.
int quantise_value(float value, float inverse_scale, QuantRange range);

/// Scale d (either sign) that makes sum of weight * (value - d * q)^2 small, q = nearest grid point. 0 where all values
/// are.
float search_scale(std::span<const float> values, std::span<const float> weights, QuantRange range);

struct ScaleMin {
  float scale = 0;
  float min = 0;
};

/// Scale and min, both >= 0, that make sum of weight * (value - (scale * q - min))^2 small, q in 0..high.
ScaleMin search_scale_min(std::span<const float> values, std::span<const float> weights, int high);

/// The same with a min of either sign: sum of weight * (value - (scale * q - min))^2, scale >= 0.
ScaleMin search_scale_offset(std::span<const float> values, std::span<const float> weights, int high);

/// Writes `scales` as F16 d times a signed integer of `range` each; returns d.
std::uint16_t quantise_scales(std::span<const float> scales, QuantRange range, std::int8_t* out);

/// 256 values on the grid of Q4_K (high 15) and Q5_K (high 31).
struct GridK4 {
  std::uint16_t d = 0;     // F16
  std::uint16_t dmin = 0;  // F16
  ScalesK4 scales{};
  std::uint8_t quant[256] = {};
};
GridK4 search_grid_k4(std::span<const float> values, std::span<const float> importance, int high);

/// How much each value's squared error counts in a format without importances from outside: with large values more.
void default_weights(std::span<const float> values, std::span<const float> importance, std::span<float> weights);

/// 1 / scale, or 0 where that is no number to multiply with: a scale of zero, or so small that its inverse overflows.
float inverse_or_zero(float scale);

/// The part [at, at + count) of importances that may be null.
std::span<const float> importance_of(const float* importance, std::int64_t at, std::size_t count);

/// F16 nearest to `value`, saturating at the largest finite one.
std::uint16_t saturating_half(float value);

}  // namespace junto
