// dispatch and combine: group slots by expert, bring results back. Units and rows; nothing of tokens or vocabulary.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/json.h"
#include "moe/route_plan.h"
#include "moe/router_spec.h"
#include "tensor/view.h"

namespace junto {

/// Where experts live: expert -> ranks that hold it (replicas allowed). Versioned; a new one may come between steps.
struct Placement {
  std::uint64_t version = 0;
  int ranks = 1;
  std::vector<std::vector<std::int32_t>> ranks_of_expert;  // [E], each not empty

  /// Every expert on rank 0: local execution.
  static Placement local(int experts);
};
/// Throws Error on a rank out of range or named twice, or an expert without one.
void check_placement(const Placement& placement, int experts);

/// Slots grouped by expert, dropless. `slot` lists, for expert e, the slots slot[begin[e] .. begin[e + 1]) in ascending
/// order; `unit` gives the row of each slot's input.
struct ExpertGroups {
  std::vector<std::int32_t> begin;   // [E + 1]
  std::vector<std::int32_t> slot;    // [slots]
  std::vector<std::int32_t> unit;    // [slots], unit of slot[i]
  std::vector<std::int32_t> active;  // experts with at least one slot, ascending

  std::span<const std::int32_t> slots_of(int expert) const;
  std::span<const std::int32_t> units_of(int expert) const;
};

/// Counting sort: O(slots + E). The same plan gives the same groups.
void group_by_expert(const RoutePlan& plan, int experts, ExpertGroups& groups);

/// The slots of `plan` that rank `rank` computes under `placement`: replicas of an expert share its slots round robin
/// by slot number. With one rank: all of them.
void group_by_expert(const RoutePlan& plan, int experts, const Placement& placement, int rank, ExpertGroups& groups);

/// out[u, d] = sum over the slots s of unit u, in slot order, of weight[s] * slot_output[s, d]; units without slots get
/// 0. Rows [begin, end) of out. WeightOn::kInput: the weights multiplied the inputs, the outputs are summed plainly.
void combine(const RoutePlan& plan, MatrixView<const float> slot_output, std::int64_t begin, std::int64_t end,
             MatrixView<float> out, WeightOn weight_on = WeightOn::kOutput);

}  // namespace junto
