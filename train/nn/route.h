// route under autograd: the engine's RouterSpec on tensors. Ids carry no gradient, so the engine chooses them; scores
// and weights are computed here from the logits, in float32 or float64.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

#include "moe/route.h"
#include "train/nn/counter_random.h"

namespace junto {

struct RoutedUnits {
  RoutePlan plan;      // as the engine makes it; its weights are those of the engine
  RoutePlan unpruned;  // before slots went that were over capacity; empty where none did
  at::Tensor logits;   // [units, E], edited; no candidates (NaN, -inf, masked): -inf
  at::Tensor scores;   // [units, E], unbiased; no candidates: 0 (Score::kLogit: -inf)
  at::Tensor weights;  // [slots], in the plan's order
  // Of noise that was learned, for load_loss(): [units, E], else undefined. `logits` are the noisy ones then.
  at::Tensor clean_logits, deviation;

  /// What the router asked for: what balance is about.
  const RoutePlan& asked() const { return unpruned.units() > 0 ? unpruned : plan; }
};

struct RouteOptions {
  at::Tensor selection_bias = {};        // [E], where the spec has one
  at::Tensor selection_logits = {};      // [units, E], which choose in the place of `logits`; undefined: they do
  std::vector<std::int64_t> keys = {};   // [units], what Given goes by; empty: 0
  std::optional<DrawPlace> sample = {};  // SparseMixer draws its experts here (sparse_mixer.h)
  bool balanced = false;                 // the logits choose by balanced_assignment()
};

/// `logits` [units, E] as the router's projection gives them, all units of a batch together: experts choose among them,
/// and what is over the spec's capacity is dropped. Gradients go from weights, scores and logits to `logits`; where a
/// logit is not finite, none. Where selection_logits chose or SparseMixer drew, the plan's own weights are those of
/// `weights`, and its slots in the order of choice.
RoutedUnits route_under_autograd(const CompiledRouter& router, const at::Tensor& logits, const RouteOptions& options);
RoutedUnits route_under_autograd(const CompiledRouter& router, const at::Tensor& logits,
                                 const at::Tensor& selection_bias = {});

/// Ids of units and experts, int64 [slots], in the plan's order.
at::Tensor units_of_slots(const RoutePlan& plan);
at::Tensor experts_of_slots(const RoutePlan& plan);

/// What each expert weighs for each unit, [units, E]; 0 where it was not chosen. weights [slots].
at::Tensor weights_of_experts(const RoutePlan& plan, const at::Tensor& weights, int experts);

/// Rows of each expert, [E], float32.
at::Tensor load_of_experts(const RoutePlan& plan, int experts);

}  // namespace junto
