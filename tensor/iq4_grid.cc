#include "tensor/iq4_grid.h"

#include <algorithm>
#include <cmath>

namespace junto {
namespace {

struct Fit {
  float scale = 0;
  float gain = -1;
};

// Index of the nearest point for every cell of half a unit from -128 on: the grid's midpoints are multiples of a half,
// so all of a cell has the same nearest point.
struct NearestTable {
  std::uint8_t index[512];
  constexpr NearestTable() : index() {
    for (int cell = 0; cell < 512; ++cell) {
      const int quarters = 2 * cell + 1 - 4 * 128;  // the cell's middle
      int nearest = 0;
      for (int i = 0; i < 15; ++i) nearest += quarters > 2 * (kIq4Values[i] + kIq4Values[i + 1]);
      index[cell] = static_cast<std::uint8_t>(nearest);
    }
  }
};
constexpr NearestTable kNearest;

Fit fit_scale(std::span<const float> values, std::span<const float> weights, float inverse_scale) {
  float xq = 0, qq = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float q = kIq4Values[nearest_iq4(values[i] * inverse_scale)];
    xq += weights[i] * values[i] * q;
    qq += weights[i] * q * q;
  }
  if (!(qq > 0)) return {};
  return {xq / qq, xq / qq * xq};
}

}  // namespace

int nearest_iq4(float scaled) {
  return kNearest.index[static_cast<int>(2 * (std::min(std::max(scaled, -127.0f), 113.0f) + 128))];
}

float search_iq4_scale(std::span<const float> values, std::span<const float> weights) {
  float extreme = 0;
  for (const float value : values) {
    if (std::fabs(value) > std::fabs(extreme)) extreme = value;
  }
  if (!(std::fabs(extreme) > 1e-30f)) return 0;
  Fit best;
  const auto consider = [&](float inverse_scale) {
    const Fit fit = fit_scale(values, weights, inverse_scale);
    const bool better = fit.gain > best.gain;
    if (better) best = fit;
    return better;
  };
  for (const int end : {kIq4Values[0], kIq4Values[15]}) {
    for (int step = -4; step <= 4; ++step)
      consider((1 + 0.035f * static_cast<float>(step)) * static_cast<float>(end) / extreme);
  }
  for (int round = 0; round < 3 && std::fabs(best.scale) > 1e-30f; ++round) {
    if (!consider(1 / best.scale)) break;
  }
  return best.scale != 0 ? best.scale : extreme / kIq4Values[0];
}

}  // namespace junto
