// prune: slots of a batch's plan that go again.
#pragma once

#include <cstdint>
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

}  // namespace junto
