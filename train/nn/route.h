// route under autograd: the engine's RouterSpec on tensors. Ids carry no gradient, so the engine chooses them; scores
// and weights are computed here from the logits, in float32 or float64.
#pragma once

#include <ATen/core/Tensor.h>

#include "moe/route.h"

namespace junto {

struct RoutedUnits {
  RoutePlan plan;      // as the engine makes it; its weights are those of the engine
  at::Tensor logits;   // [units, E], edited; no candidates (NaN, -inf, masked): -inf
  at::Tensor scores;   // [units, E], unbiased; no candidates: 0 (Score::kLogit: -inf)
  at::Tensor weights;  // [slots], in the plan's order
};

/// `logits` [units, E] as the router's projection gives them; `selection_bias` [E], undefined where the spec has none.
/// Gradients go from weights, scores and logits to `logits`; where a logit is not finite, none. The weights of
/// SparseMixer have the gradient of their formula: the estimator of its paper (Liu et al., arXiv 2409.12136, section
/// 3), which samples, is not here.
RoutedUnits route_under_autograd(const CompiledRouter& router, const at::Tensor& logits,
                                 const at::Tensor& selection_bias = {});

/// Ids of units and experts, int64 [slots], in the plan's order.
at::Tensor units_of_slots(const RoutePlan& plan);
at::Tensor experts_of_slots(const RoutePlan& plan);

/// Rows of each expert, [E], float32.
at::Tensor load_of_experts(const RoutePlan& plan, int experts);

}  // namespace junto
