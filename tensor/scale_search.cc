#include "tensor/scale_search.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "tensor/half.h"

namespace junto {
namespace {

// Magnitudes below this are zero to every F16 scale, and their inverses would overflow.
constexpr float kLeastMagnitude = 1e-30f;

// Four floats side by side (GCC's and Clang's vector extension): sums are kept in lanes, in one fixed order.
using Lanes = float __attribute__((vector_size(16)));
constexpr std::size_t kLanes = 4;

Lanes load(std::span<const float> from, std::size_t at) {
  Lanes lanes;
  std::memcpy(&lanes, from.data() + at, sizeof lanes);
  return lanes;
}

double sum(Lanes lanes) {
  return static_cast<double>(lanes[0]) + static_cast<double>(lanes[1]) + static_cast<double>(lanes[2]) +
         static_cast<double>(lanes[3]);
}

// The nearest integer in low..high, ties to even, low and high within 2^22: adding 1.5 * 2^23 leaves no bits for a
// fraction.
template <class T>
T grid_point(T scaled, float low, float high) {
  constexpr float kMagic = 12582912.0f;
  scaled = scaled > low ? scaled : T{} + low;
  scaled = scaled < high ? scaled : T{} + high;
  return (scaled + kMagic) - kMagic;
}

struct Fit {
  float scale = 0;
  double gain = -1;  // how much the weighted squared error falls against all zeros
};

// The best scale for the quants that `inverse_scale` gives.
Fit fit_scale(std::span<const float> values, std::span<const float> weights, float inverse_scale, QuantRange range) {
  const auto low = static_cast<float>(range.low), high = static_cast<float>(range.high);
  Lanes xq{}, qq{};
  for (std::size_t i = 0; i < values.size(); i += kLanes) {
    const Lanes x = load(values, i);
    const Lanes q = grid_point(x * inverse_scale, low, high);
    const Lanes weighted = load(weights, i) * q;
    xq += weighted * x;
    qq += weighted * q;
  }
  const double dot = sum(xq), squares = sum(qq);
  if (!(squares > 0)) return {};
  return {static_cast<float>(dot / squares), dot * dot / squares};
}

struct FitMin {
  ScaleMin fit;
  double error = 0;
};

// Affine fits of one group. Values are taken from `base`, so that a large common offset costs no precision.
struct AffineProblem {
  std::span<const float> values, weights;
  int high = 15;
  bool any_sign = false;  // of the min
  float base = 0;         // -min to start from
  double w = 0, y = 0, yy = 0;

  AffineProblem(std::span<const float> values_, std::span<const float> weights_, int high_, bool any_sign_)
      : values(values_), weights(weights_), high(high_), any_sign(any_sign_) {
    base = *std::min_element(values.begin(), values.end());
    if (!any_sign) base = std::min(base, 0.0f);
    Lanes sum_w{}, sum_y{}, sum_yy{};
    for (std::size_t i = 0; i < values.size(); i += kLanes) {
      const Lanes value = load(values, i) - base, weight = load(weights, i);
      sum_w += weight, sum_y += weight * value, sum_yy += weight * value * value;
    }
    w = sum(sum_w), y = sum(sum_y), yy = sum(sum_yy);
  }

  // The best scale and min for the quants that rounding (value - least) * inverse_scale gives.
  FitMin fit(float inverse_scale, float least) const {
    Lanes sum_q{}, sum_qq{}, sum_yq{};
    for (std::size_t i = 0; i < values.size(); i += kLanes) {
      const Lanes x = load(values, i);
      const Lanes q = grid_point((x - least) * inverse_scale, 0, static_cast<float>(high));
      const Lanes weighted = load(weights, i) * q;
      sum_q += weighted, sum_qq += weighted * q, sum_yq += weighted * (x - base);
    }
    const double q = sum(sum_q), qq = sum(sum_qq), yq = sum(sum_yq);
    const double determinant = w * qq - q * q;
    double scale = 0, offset = 0;  // value - base ~ scale * q + offset
    if (determinant > 0) {
      scale = (w * yq - y * q) / determinant;
      offset = (qq * y - q * yq) / determinant;
    }
    if (!(determinant > 0) || (!any_sign && base + offset > 0)) {
      offset = any_sign ? 0 : -base;
      scale = qq > 0 ? (yq - offset * q) / qq : 0;
    }
    scale = std::max(scale, 0.0);
    const double error =
        yy + scale * scale * qq + offset * offset * w + 2 * (scale * offset * q - scale * yq - offset * y);
    return {{static_cast<float>(scale), static_cast<float>(-(base + offset))}, error};
  }

  ScaleMin search() const {
    const float width = *std::max_element(values.begin(), values.end()) - base;
    if (!(width > kLeastMagnitude)) return {0, -base};
    FitMin best = fit(static_cast<float>(high) / width, base);
    if (!std::isfinite(best.error)) return {width / static_cast<float>(high), -base};  // squares overflowed
    for (int step = -10; step <= 10; ++step) {
      const FitMin found = fit((static_cast<float>(high) + 0.1f * static_cast<float>(step)) / width, base);
      if (found.error < best.error) best = found;
    }
    for (int round = 0; round < 3 && best.fit.scale > kLeastMagnitude; ++round) {
      const FitMin found = fit(1 / best.fit.scale, -best.fit.min);
      if (!(found.error < best.error)) break;
      best = found;
    }
    return best.fit;
  }
};

// Weighted squared error of values on the grid scale * q - min.
double grid_error(std::span<const float> values, std::span<const float> weights, float scale, float min,
                  QuantRange range) {
  const auto low = static_cast<float>(range.low), high = static_cast<float>(range.high);
  const float inverse = inverse_or_zero(scale);
  Lanes errors{};
  for (std::size_t i = 0; i < values.size(); i += kLanes) {
    const Lanes x = load(values, i);
    const Lanes miss = scale * grid_point((x + min) * inverse, low, high) - min - x;
    errors += load(weights, i) * miss * miss;
  }
  return sum(errors);
}

}  // namespace

int quantise_value(float value, float inverse_scale, QuantRange range) {
  return static_cast<int>(
      grid_point(value * inverse_scale, static_cast<float>(range.low), static_cast<float>(range.high)));
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
    const bool better = fit.gain > best.gain;
    if (better) best = fit;
    return better;
  };
  for (const int end : {range.low, range.high}) {
    if (end == 0) continue;
    for (int step = -8; step <= 8; ++step) {
      consider((static_cast<float>(end) + 0.12f * static_cast<float>(step)) / extreme);
    }
  }
  for (int round = 0; round < 3 && std::fabs(best.scale) > kLeastMagnitude; ++round) {
    if (!consider(1 / best.scale)) break;
  }
  // Squares of values beyond 1e19 overflow, and then no candidate can be judged.
  return best.scale != 0 ? best.scale : extreme / static_cast<float>(range.low);
}

ScaleMin search_scale_min(std::span<const float> values, std::span<const float> weights, int high) {
  return AffineProblem(values, weights, high, false).search();
}

ScaleMin search_scale_offset(std::span<const float> values, std::span<const float> weights, int high) {
  return AffineProblem(values, weights, high, true).search();
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

GroupedGrid search_grouped_grid(std::span<const float> values, std::span<const float> importance,
                                std::size_t group_values, int quant_high, int scale_high) {
  std::array<float, 256> weights;
  error_weights(values, importance, weights);
  const std::size_t groups = 256 / group_values;
  std::array<ScaleMin, 16> fits;
  float most_scale = 0, most_min = 0;
  const auto part = [&](std::span<const float> of, std::size_t j) {
    return of.subspan(j * group_values, group_values);
  };
  for (std::size_t j = 0; j < groups; ++j) {
    fits[j] = search_scale_min(part(values, j), part(weights, j), quant_high);
    most_scale = std::max(most_scale, fits[j].scale);
    most_min = std::max(most_min, fits[j].min);
  }
  GroupedGrid grid;
  grid.d = saturating_half(most_scale / static_cast<float>(scale_high));
  grid.dmin = saturating_half(most_min / static_cast<float>(scale_high));
  const float d = half_to_float(grid.d), dmin = half_to_float(grid.dmin);
  for (std::size_t j = 0; j < groups; ++j) {
    // Rounding scale and min to integers moves them off their common optimum: look at the neighbours too.
    const int scale = quantise_value(fits[j].scale, inverse_or_zero(d), {0, scale_high});
    const int min = quantise_value(fits[j].min, inverse_or_zero(dmin), {0, scale_high});
    double least = -1;
    for (int s = std::max(scale - 1, 0); s <= std::min(scale + 1, scale_high); ++s) {
      for (int m = std::max(min - 1, 0); m <= std::min(min + 1, scale_high); ++m) {
        const double error = grid_error(part(values, j), part(weights, j), d * static_cast<float>(s),
                                        dmin * static_cast<float>(m), {0, quant_high});
        if (least >= 0 && !(error < least)) continue;
        least = error;
        grid.scale[j] = static_cast<std::uint8_t>(s), grid.min[j] = static_cast<std::uint8_t>(m);
      }
    }
    const float inverse = inverse_or_zero(d * grid.scale[j]);
    for (std::size_t i = j * group_values; i < (j + 1) * group_values; ++i) {
      grid.quant[i] =
          static_cast<std::uint8_t>(quantise_value(values[i] + dmin * grid.min[j], inverse, {0, quant_high}));
    }
  }
  return grid;
}

SignedGrid search_signed_grid(std::span<const float> values, std::span<const float> importance, QuantRange quants,
                              QuantRange scales) {
  std::array<float, 256> weights;
  error_weights(values, importance, weights);
  std::array<float, 16> wanted;
  const auto part = [](std::span<const float> of, std::size_t j) { return of.subspan(j * 16, 16); };
  for (std::size_t j = 0; j < 16; ++j) wanted[j] = search_scale(part(values, j), part(weights, j), quants);
  SignedGrid grid;
  grid.d = quantise_scales(wanted, scales, grid.scale);
  const float d = half_to_float(grid.d);
  for (std::size_t j = 0; j < 16; ++j) {
    double least = -1;
    const int around = grid.scale[j];
    for (int s = std::max(around - 1, scales.low); s <= std::min(around + 1, scales.high); ++s) {
      const double error = grid_error(part(values, j), part(weights, j), d * static_cast<float>(s), 0, quants);
      if (least >= 0 && !(error < least)) continue;
      least = error;
      grid.scale[j] = static_cast<std::int8_t>(s);
    }
    const float inverse = inverse_or_zero(d * grid.scale[j]);
    for (std::size_t i = 16 * j; i < 16 * j + 16; ++i) {
      grid.quant[i] = static_cast<std::int8_t>(quantise_value(values[i], inverse, quants));
    }
  }
  return grid;
}

void error_weights(std::span<const float> values, std::span<const float> importance, std::span<float> weights) {
  double squares = 0;
  for (const float value : values) squares += static_cast<double>(value) * value;
  const auto mean_square = static_cast<float>(squares / static_cast<double>(values.size()));
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
