// The nonlinear functions of feed-forward networks, over rows. A value's result has the same bits wherever it stands.
#pragma once

#include <cstdint>
#include <span>

namespace junto {

enum class ActivationFunction : std::uint8_t {
  kSilu,      // x * sigmoid(x)
  kGeluTanh,  // x * sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3)): GELU's tanh form, Hendrycks and Gimelshein, 1606.08415
  kGeluErf,   // x * Phi(x)
  kRelu,      // max(x, 0)
  kReluSquared,  // max(x, 0)^2
  kSigmoid,      // 1 / (1 + e^-x)
  kTanh,
};

/// out[i] = f(x[i]). In place is allowed.
void apply_activation(ActivationFunction f, std::span<const float> x, std::span<float> out);

/// out[i] = f(gate[i]) * up[i] (GLU variants: Shazeer, arXiv 2002.05202). out may be gate or up.
void apply_gated(ActivationFunction f, std::span<const float> gate, std::span<const float> up, std::span<float> out);

/// gpt-oss: g = min(gate, limit), u = clamp(up, -limit, limit), out = (u + 1) * g * sigmoid(alpha * g). out may be gate
/// or up.
void apply_swiglu_clamped(std::span<const float> gate, std::span<const float> up, float limit, float alpha,
                          std::span<float> out);

/// x[i] = cap * tanh(x[i] / cap): Gemma 2's soft cap of scores and logits.
void softcap(std::span<float> x, float cap);

}  // namespace junto
