#include "kernels/activation_functions.h"

#include "kernels/row_kernels.h"

namespace junto {

void apply_activation(ActivationFunction f, std::span<const float> x, std::span<float> out) {
  row_kernels().activation(f, x.data(), x.size(), out.data());
}

void apply_gated(ActivationFunction f, std::span<const float> gate, std::span<const float> up, std::span<float> out) {
  row_kernels().gated(f, gate.data(), up.data(), gate.size(), out.data());
}

void apply_swiglu_clamped(std::span<const float> gate, std::span<const float> up, float limit, float alpha,
                          std::span<float> out) {
  row_kernels().swiglu_clamped(gate.data(), up.data(), gate.size(), limit, alpha, out.data());
}

void softcap(std::span<float> x, float cap) {
  row_kernels().softcap(x.data(), x.size(), cap);
}

}  // namespace junto
