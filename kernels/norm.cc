#include "kernels/norm.h"

#include <cmath>
#include <cstddef>

namespace junto {
namespace {

constexpr std::size_t kLanes = 16;

template <class Term>
float lane_sum(std::size_t count, Term term) {
  float lanes[kLanes] = {};
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::size_t l = 0; l < kLanes; ++l) lanes[l] += term(i + l);
  }
  for (std::size_t l = 0; i + l < count; ++l) lanes[l] += term(i + l);
  float sum = 0;
  for (const float lane : lanes) sum += lane;
  return sum;
}

}  // namespace

void rms_norm(std::span<const float> x, std::span<const float> weight, float eps, std::span<float> out) {
  const float mean_square =
      lane_sum(x.size(), [&](std::size_t i) { return x[i] * x[i]; }) / static_cast<float>(x.size());
  const float scale = 1.0f / std::sqrt(mean_square + eps);
  for (std::size_t i = 0; i < x.size(); ++i) out[i] = x[i] * scale;
  if (weight.empty()) return;
  for (std::size_t i = 0; i < x.size(); ++i) out[i] *= weight[i];
}

void layer_norm(std::span<const float> x, std::span<const float> weight, std::span<const float> bias, float eps,
                std::span<float> out) {
  const auto count = static_cast<float>(x.size());
  const float mean = lane_sum(x.size(), [&](std::size_t i) { return x[i]; }) / count;
  const float variance = lane_sum(x.size(), [&](std::size_t i) { return (x[i] - mean) * (x[i] - mean); }) / count;
  const float scale = 1.0f / std::sqrt(variance + eps);
  for (std::size_t i = 0; i < x.size(); ++i) {
    float value = (x[i] - mean) * scale;
    if (!weight.empty()) value *= weight[i];
    if (!bias.empty()) value += bias[i];
    out[i] = value;
  }
}

}  // namespace junto
