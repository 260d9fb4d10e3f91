// BASE layers (Lewis et al., arXiv 2103.16716): in training, tokens are given to experts so that all experts get as
// many and the sum of the scores is the largest. Of the finished model each token takes its best expert.
#pragma once

#include <ATen/core/Tensor.h>

#include "moe/route_plan.h"

namespace junto {

/// scores [units, E] -> a plan of one expert for each unit, at most ceil(units / E) units for each expert, the sum of
/// scores the largest there is (shortest augmenting paths, exact to float64). Weights are 1. A score that is not finite
/// chooses nobody: a unit that would have to take it gets no expert.
RoutePlan balanced_assignment(const at::Tensor& scores);

}  // namespace junto
