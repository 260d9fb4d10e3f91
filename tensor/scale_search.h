// Least squares for quantisation: given values and the weight of each one's squared error, find the scale (and minimum)
// of a small integer grid that loses least. Block formats build their encoders on these. Counts are multiples of 16.
#pragma once

#include <cstdint>
#include <span>

namespace junto {

/// Integer grid low..high.
struct QuantRange {
  int low = 0;
  int high = 15;
};

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

/// The same with a min of either sign.
ScaleMin search_scale_offset(std::span<const float> values, std::span<const float> weights, int high);

/// Writes `scales` as F16 d times a signed integer of `range` each; returns d.
std::uint16_t quantise_scales(std::span<const float> scales, QuantRange range, std::int8_t* out);

/// A block of 256 values on a grid of groups: w = (d * scale) * q - (dmin * min). Q2_K, Q4_K and Q5_K store it.
struct GroupedGrid {
  std::uint16_t d = 0;     // F16
  std::uint16_t dmin = 0;  // F16
  std::uint8_t scale[16] = {};
  std::uint8_t min[16] = {};
  std::uint8_t quant[256] = {};
};

/// Groups of `group_values` (16 or 32), quants 0..quant_high, integer scales and mins 0..scale_high.
GroupedGrid search_grouped_grid(std::span<const float> values, std::span<const float> importance,
                                std::size_t group_values, int quant_high, int scale_high);

/// A block of 256 values on a grid without mins: 16 groups of 16, w = (d * scale) * q. Q3_K and Q6_K store it.
struct SignedGrid {
  std::uint16_t d = 0;  // F16
  std::int8_t scale[16] = {};
  std::int8_t quant[256] = {};
};
SignedGrid search_signed_grid(std::span<const float> values, std::span<const float> importance, QuantRange quants,
                              QuantRange scales);

/// How much each value's squared error counts: all the same, or by importances given from outside, larger values more.
void error_weights(std::span<const float> values, std::span<const float> importance, std::span<float> weights);

/// 1 / scale, or 0 where that is no number to multiply with: a scale of zero, or so small that its inverse overflows.
float inverse_or_zero(float scale);

/// The part [at, at + count) of importances that may be null.
std::span<const float> importance_of(const float* importance, std::int64_t at, std::size_t count);

/// F16 nearest to `value`, saturating at the largest finite one.
std::uint16_t saturating_half(float value);

}  // namespace junto
