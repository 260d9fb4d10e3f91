// route: RouterSpec + policy + logits -> RoutePlan.
#pragma once

#include <span>
#include <vector>

#include "moe/route_plan.h"
#include "moe/router_spec.h"
#include "moe/routing_policy.h"
#include "tensor/view.h"

namespace junto {

/// Scratch that is kept from call to call so that routing does not allocate.
struct RouteScratch {
  std::vector<float> scores;         // [E]
  std::vector<float> biased_scores;  // [E]
  std::vector<std::int32_t> order;
  std::vector<float> group_scores;
};

/// Appends the slots of one unit to `plan`. `logits` [E] are edited in place (policy offsets, masks -> -inf);
/// `selection_bias` is [E] or empty. The result depends on this unit's logits alone.
/// `scores_out` [E] receives the scores where it is not empty.
void route_unit(const RouterSpec& spec, const LayerPolicy& policy, std::span<float> logits,
                std::span<const float> selection_bias, RouteScratch& scratch, RoutePlan& plan,
                std::span<float> scores_out = {});

/// All rows of `logits` [units, E] under one policy.
void route(const RouterSpec& spec, const LayerPolicy& policy, MatrixView<float> logits,
           std::span<const float> selection_bias, RouteScratch& scratch, RoutePlan& plan);

}  // namespace junto
