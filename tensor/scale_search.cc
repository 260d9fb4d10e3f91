#include "tensor/scale_search.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "tensor/half.h"

namespace junto {
namespace {

// Largest block that is searched at once.
constexpr std::size_t kMaxValues = 256;

// Magnitudes below this are zero to every F16 scale, and their inverses would overflow.
constexpr float kLeastMagnitude = 1e-30f;

struct Fit {
  float scale = 0;
  double gain = -1;  // how much the weighted squared error falls against all zeros
};

// The best scale for the quants that `inverse_scale` gives.
Fit fit_scale(std::span<const float> values, std::span<const float> weights, float inverse_scale, QuantRange range) {
  double xq = 0, qq = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const int q = quantise_value(values[i], inverse_scale, range);
    xq += static_cast<double>(weights[i]) * values[i] * q;
    qq += static_cast<double>(weights[i]) * q * q;
  }
  if (!(qq > 0)) return {};
  return {static_cast<float>(xq / qq), xq * xq / qq};
}

struct FitMin {
  ScaleMin fit;
  double error = 0;
};

// The best scale and min for the quants that rounding (value + min) * inverse_scale gives.
FitMin fit_scale_min(std::span<const float> values, std::span<const float> weights, float inverse_scale, float min,
                     int high, bool any_sign) {
  std::array<int, kMaxValues> quants;
  double w = 0, x = 0, q1 = 0, qq = 0, xq = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const int q = quantise_value(values[i] + min, inverse_scale, {0, high});
    const double weight = weights[i];
    quants[i] = q;
    w += weight, x += weight * values[i], q1 += weight * q, qq += weight * q * q, xq += weight * values[i] * q;
  }
  const double determinant = w * qq - q1 * q1;
  double scale = 0, offset = 0;  // value ~ scale * q + offset
  if (determinant > 0) {
    scale = (w * xq - x * q1) / determinant;
    offset = (qq * x - q1 * xq) / determinant;
  }
  if (!(determinant > 0) || (offset > 0 && !any_sign)) {
    offset = 0;
    scale = qq > 0 ? xq / qq : 0;
  }
  FitMin out{{static_cast<float>(std::max(scale, 0.0)), static_cast<float>(-offset)}, 0};
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double miss = out.fit.scale * static_cast<double>(quants[i]) - out.fit.min - values[i];
    out.error += weights[i] * miss * miss;
  }
  return out;
}

ScaleMin search_from(std::span<const float> values, std::span<const float> weights, float min, int high,
                     bool any_sign) {
  const float width = *std::max_element(values.begin(), values.end()) + min;
  if (!(width > kLeastMagnitude)) return {0, min};
  FitMin best;
  for (int step = -10; step <= 10; ++step) {
    const float inverse_scale = (static_cast<float>(high) + 0.1f * static_cast<float>(step)) / width;
    const FitMin fit = fit_scale_min(values, weights, inverse_scale, min, high, any_sign);
    if (step == -10 || fit.error < best.error) best = fit;
  }
  for (int round = 0; round < 2 && best.fit.scale > kLeastMagnitude; ++round) {
    const FitMin fit = fit_scale_min(values, weights, 1 / best.fit.scale, best.fit.min, high, any_sign);
    if (fit.error < best.error) best = fit;
  }
  return best.fit;
}

}  // namespace

int quantise_value(float value, float inverse_scale, QuantRange range) {
  const float scaled = value * inverse_scale;
  return nearest_int(std::clamp(scaled, static_cast<float>(range.low), static_cast<float>(range.high)));
}

float search_scale(std::span<const float> values, std::span<const float> weights, QuantRange range) {
  float extreme = 0;
  for (const float value : values) {
    if (std::fabs(value) > std::fabs(extreme)) extreme = value;
  }
  if (!(std::fabs(extreme) > kLeastMagnitude)) return 0;
  Fit best;
  const auto consider = [&](float inverse_scale) {
    const Fit fit = fit_scale(values, weights, inverse_scale, range);
    if (fit.gain > best.gain) best = fit;
  };
  for (const int end : {range.low, range.high}) {
    if (end == 0) continue;
    for (int step = -9; step <= 9; ++step) {
      consider((static_cast<float>(end) + 0.1f * static_cast<float>(step)) / extreme);
    }
  }
  for (int round = 0; round < 2 && std::fabs(best.scale) > kLeastMagnitude; ++round) consider(1 / best.scale);
  return best.scale;
}

ScaleMin search_scale_min(std::span<const float> values, std::span<const float> weights, int high) {
  const float least = *std::min_element(values.begin(), values.end());
  return search_from(values, weights, std::max(-least, 0.0f), high, false);
}

ScaleMin search_scale_offset(std::span<const float> values, std::span<const float> weights, int high) {
  return search_from(values, weights, -*std::min_element(values.begin(), values.end()), high, true);
}

std::uint16_t quantise_scales(std::span<const float> scales, QuantRange range, std::int8_t* out) {
  float extreme = 0;
  for (const float scale : scales) {
    if (std::fabs(scale) > std::fabs(extreme)) extreme = scale;
  }
  const std::uint16_t d = saturating_half(extreme / static_cast<float>(range.low));
  const float inverse = inverse_or_zero(half_to_float(d));
  for (std::size_t j = 0; j < scales.size(); ++j) {
    out[j] = static_cast<std::int8_t>(quantise_value(scales[j], inverse, range));
  }
  return d;
}

GridK4 search_grid_k4(std::span<const float> values, std::span<const float> importance, int high) {
  std::array<float, 256> weights;
  default_weights(values, importance, weights);
  std::array<ScaleMin, 8> fits;
  float most_scale = 0, most_min = 0;
  for (std::size_t j = 0; j < 8; ++j) {
    fits[j] = search_scale_min(values.subspan(32 * j, 32), std::span<const float>(weights).subspan(32 * j, 32), high);
    most_scale = std::max(most_scale, fits[j].scale);
    most_min = std::max(most_min, fits[j].min);
  }
  GridK4 grid;
  grid.d = saturating_half(most_scale / 63);
  grid.dmin = saturating_half(most_min / 63);
  const float d = half_to_float(grid.d), dmin = half_to_float(grid.dmin);
  for (std::size_t j = 0; j < 8; ++j) {
    grid.scales.scale[j] = static_cast<std::uint8_t>(quantise_value(fits[j].scale, inverse_or_zero(d), {0, 63}));
    grid.scales.min[j] = static_cast<std::uint8_t>(quantise_value(fits[j].min, inverse_or_zero(dmin), {0, 63}));
    const float inverse = inverse_or_zero(d * grid.scales.scale[j]);
    const float min = dmin * grid.scales.min[j];
    for (std::size_t i = 32 * j; i < 32 * j + 32; ++i) {
      grid.quant[i] = static_cast<std::uint8_t>(quantise_value(values[i] + min, inverse, {0, high}));
    }
  }
  return grid;
}

void default_weights(std::span<const float> values, std::span<const float> importance, std::span<float> weights) {
  double squares = 0;
  for (const float value : values) squares += static_cast<double>(value) * value;
  const float mean_square = static_cast<float>(squares / static_cast<double>(values.size()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    weights[i] = importance.empty() ? 1.0f : importance[i] * std::sqrt(mean_square + values[i] * values[i]);
  }
}

float inverse_or_zero(float scale) {
  return std::fabs(scale) > kLeastMagnitude ? 1 / scale : 0;
}

std::span<const float> importance_of(const float* importance, std::int64_t at, std::size_t count) {
  return importance == nullptr ? std::span<const float>() : std::span<const float>(importance + at, count);
}

std::uint16_t saturating_half(float value) {
  return float_to_half(std::clamp(value, -65504.0f, 65504.0f));
}

}  // namespace junto
