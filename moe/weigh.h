// weigh: the chosen experts of one unit -> their factors.
#pragma once

#include <cstdint>
#include <span>

#include "moe/router_spec.h"
#include "moe/score.h"

namespace junto {

/// weights[i] for chosen[i], before `spec.scale`.
void weigh(const RouterSpec& spec, const UnitScores& unit, std::span<const std::int32_t> chosen,
           std::span<float> weights);

/// The weights of SparseMixer: round i's softmax, the experts of earlier rounds left out. `chosen` in order of choice.
void weigh_sparse_mixer(const SparseMixer& rule, const UnitScores& unit, std::span<const std::int32_t> chosen,
                        std::span<float> weights);

/// Divides by max(norm + eps, min), the p-norm; leaves weights alone where that is not above 0.
void renormalise(std::span<float> weights, float p, float eps, float min);

}  // namespace junto
