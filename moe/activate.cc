#include "moe/activate.h"

#include "kernels/activation_functions.h"

namespace junto {
namespace {

ActivationFunction function_of(ActivationKind kind) {
  switch (kind) {
    case ActivationKind::kSilu:
    case ActivationKind::kSwigluOai:  // has a call of its own
      return ActivationFunction::kSilu;
    case ActivationKind::kGeluTanh:
      return ActivationFunction::kGeluTanh;
    case ActivationKind::kGeluErf:
      return ActivationFunction::kGeluErf;
    case ActivationKind::kRelu:
      return ActivationFunction::kRelu;
    case ActivationKind::kReluSquared:
      return ActivationFunction::kReluSquared;
    case ActivationKind::kIdentity:  // is done without
      return ActivationFunction::kRelu;
  }
  return ActivationFunction::kSilu;
}

}  // namespace

void activate(const Activation& activation, std::span<const float> gate, std::span<float> up) {
  if (activation.kind == ActivationKind::kSwigluOai) {
    apply_swiglu_clamped(gate, up, activation.limit, activation.alpha, up);
  } else if (activation.kind == ActivationKind::kIdentity) {
    for (std::size_t i = 0; i < gate.size(); ++i) up[i] *= gate[i];
  } else if (gate.empty()) {
    apply_activation(function_of(activation.kind), up, up);
  } else {
    apply_gated(function_of(activation.kind), gate, up, up);
  }
}

}  // namespace junto
