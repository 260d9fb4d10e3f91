// The activation between an expert's first and last matrix.
#pragma once

#include <span>

#include "moe/expert_kind.h"

namespace junto {

/// up[i] = act(gate[i], up[i]); `gate` is empty where the activation is not gated. See Activation for the formulas.
void activate(const Activation& activation, std::span<const float> gate, std::span<float> up);

}  // namespace junto
