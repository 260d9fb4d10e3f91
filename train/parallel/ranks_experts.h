// Expert parallelism: the rows of a layer's slots travel to the ranks that hold their experts, and back.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "moe/expert_kind.h"
#include "moe/route_plan.h"
#include "moe/router_spec.h"
#include "train/nn/grouped_experts.h"
#include "train/parallel/expert_share.h"

namespace junto {

/// grouped_experts() of all slots of `plan`, whose experts are parted as `share` says: gate_up and down are those of
/// share.own. Every rank calls it, with its own units, and its backward too. x [units, D]; weights [slots]; `weight_on`
/// kInput: weights multiply the experts' inputs. An expert computes the rows of all ranks in their order: what it gives
/// does not depend on where it is.
at::Tensor ranks_experts(const ExpertShare& share, const at::Tensor& x, const at::Tensor& weights,
                         const at::Tensor& gate_up, const at::Tensor& down, const RoutePlan& plan,
                         std::shared_ptr<ExpertGradients> gradients, const Activation& activation, WeightOn weight_on);

}  // namespace junto
