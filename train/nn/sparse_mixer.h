// SparseMixer under autograd: k rounds, each a softmax over the logits near the best that is left.
#pragma once

#include <ATen/core/Tensor.h>

#include "moe/route_plan.h"
#include "moe/router_spec.h"
#include "train/nn/counter_random.h"

namespace junto {

/// The weight of each slot of a plan that the engine chose, [slots]: the softmax over what its round compares. That
/// set is no matter of gradients. `logits` [units, E] edited; ids int64 [slots].
at::Tensor sparse_mixer_weights(const SparseMixer& rule, const RoutePlan& plan, const at::Tensor& logits,
                                const at::Tensor& unit_of_slot, const at::Tensor& expert_of_slot);

struct SampledMixer {
  RoutePlan plan;      // slots of a unit in the order in which they were drawn
  at::Tensor weights;  // [slots]
};
/// The estimator of Liu et al. (arXiv 2310.00811; 2409.12136, section 2): each round draws its expert from the softmax
/// over the logits near the best. The drawn expert's weight is its probability p, or, where it is not the likeliest
/// and with probability 3/4, p / 3: Heun's third-order rule for the difference that choosing it makes. The gradient is
/// that of p in either case.
SampledMixer sample_sparse_mixer(const SparseMixer& rule, const at::Tensor& logits, const DrawPlace& place);

}  // namespace junto
