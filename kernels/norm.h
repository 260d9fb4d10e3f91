// Normalisation of one row. Sums run over interleaved lanes, then over the lanes: one fixed order.
#pragma once

#include <span>

namespace junto {

/// out[i] = x[i] / sqrt(mean(x^2) + eps) * weight[i]; an empty weight counts as 1. In place is allowed.
/// Zhang and Sennrich, arXiv 1910.07467.
void rms_norm(std::span<const float> x, std::span<const float> weight, float eps, std::span<float> out);

/// out[i] = (x[i] - mean) / sqrt(variance + eps) * weight[i] + bias[i]; empty weight 1, empty bias 0. In place is
/// allowed.
void layer_norm(std::span<const float> x, std::span<const float> weight, std::span<const float> bias, float eps,
                std::span<float> out);

/// out[i] = x[i] / sqrt(sum(x^2) + eps). In place is allowed.
void l2_norm(std::span<const float> x, float eps, std::span<float> out);

}  // namespace junto
