// All experts of a layer under autograd: slots sorted by expert once, one product per expert and matrix over its own
// rows, no [units, E, capacity] tensors and no scatter. float32 or float64.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "moe/dispatch.h"
#include "moe/expert_kind.h"
#include "moe/route_plan.h"

namespace junto {

/// Where the slots of a plan stand once they are grouped by expert: a place for each slot.
struct GroupedSlots {
  int experts = 0;
  std::vector<std::int32_t> offset;  // [units + 1]: the slots of unit u, as in the plan
  ExpertGroups groups;               // place -> slot and unit; places of expert e: groups.begin[e]..begin[e + 1]
  std::vector<std::int32_t> place;   // [slots]: slot -> place

  std::int64_t units() const { return static_cast<std::int64_t>(offset.size()) - 1; }
  std::int64_t slots() const { return static_cast<std::int64_t>(place.size()); }
};
/// Ids of the plan are 0 .. experts - 1. Counting sort: O(slots + experts).
std::shared_ptr<const GroupedSlots> group_slots(const RoutePlan& plan, int experts);

/// Gradients of stacked expert weights that backward writes in place, for as long as training goes on. Returned by
/// autograd they would be fresh memory at each step: a third of the time where experts are many. The trainer calls
/// clear() instead of zeroing; the first backward after it overwrites, later ones (micro-batches) add.
class ExpertGradients {
 public:
  /// Writes to the grad() of both, which is made where there is none.
  ExpertGradients(at::Tensor& gate_up, at::Tensor& down);
  void clear() { empty_ = true; }
  /// False after clear(), until a backward has written: until then their content means nothing.
  bool filled() const { return !empty_; }
  const at::Tensor& gate_up() const { return gate_up_; }
  const at::Tensor& down() const { return down_; }
  void mark_filled() { empty_ = false; }

 private:
  at::Tensor gate_up_, down_;
  bool empty_ = true;
};

/// out[u] = sum over the slots s of unit u, in slot order, of weights[s] * down_e (act(gate_e x[u]) * up_e x[u]), or
/// down_e act(up_e x[u]) where the activation is not gated. kSwigluOai is not supported.
///
/// x [units, D]; weights [slots]; gate_up [E, 2H, D], an expert's gate rows before its up rows, without a gate [E, H,
/// D]; down [E, D, H]; out
/// [units, D]; units without slots get 0. Gradients of x, weights, gate_up and down; those of gate_up and down go to
/// `gradients` where it is given. Experts without rows get gradients of 0. The bits of out and of all gradients do not
/// depend on the number of threads. There is no second derivative: backward under create_graph throws.
at::Tensor grouped_experts(const at::Tensor& x, const at::Tensor& weights, const at::Tensor& gate_up,
                           const at::Tensor& down, std::shared_ptr<const GroupedSlots> slots,
                           std::shared_ptr<ExpertGradients> gradients = nullptr, const Activation& activation = {});

}  // namespace junto
