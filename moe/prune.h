// prune: slots of a batch's plan that go again.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "moe/route_plan.h"
#include "moe/router_spec.h"

namespace junto {

/// Rows that each expert takes of a batch with `slots` slots, [E].
std::vector<std::int64_t> capacity_of_experts(const Capacity& rule, std::int64_t slots, int experts);

/// What stays of a unit is scaled up where it is more than this share of what there was, and left alone elsewhere: the
/// factor and its slope must be numbers.
inline constexpr double kLeastKept = 1e-30;

/// Takes out what is over the experts' capacity and scales what stays as the rule says. The order of slots is kept.
/// `kept`: where it is given, the numbers in the old plan of the slots that stay, ascending. Returns how many went.
std::int64_t prune(const Capacity& rule, int experts, RoutePlan& plan, std::vector<std::int32_t>* kept = nullptr);

/// What a unit does about experts that are not in memory when their layer computes: waits for them (nothing), or leaves
/// them out.
using LateDrop = std::optional<Capacity::Drop>;

/// The experts that a layer waits for, into `present` [E], which has those in memory: all experts of units that wait;
/// the best one of every other unit, so that none is left with nothing and the memory follows the text; and, by id, as
/// many more as `empty_slots` holds beside those, as an empty slot costs no other expert its place.
void add_awaited(const RoutePlan& plan, std::span<const LateDrop> of_unit, int empty_slots,
                 std::vector<std::uint8_t>& present);

/// Takes the slots of experts that are not `present` [E] out of units that do not wait. Returns how many went.
std::int64_t prune_late(std::span<const LateDrop> of_unit, std::span<const std::uint8_t> present, RoutePlan& plan);

}  // namespace junto
