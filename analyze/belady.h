// What of a run's experts could have been in memory: Belady's policy (IBM Systems Journal 5(2), 1966), which sends away
// what is needed last, on what the layers of the run asked for.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "moe/expert_cache.h"

namespace junto {

/// Hits as a share of the experts that asks[first..] asked for, through `slots` slots that are empty before asks[0].
/// An expert that is missing is always brought in, as the running cache does; nothing is read before it is asked for,
/// so a prefetch may do better. 0 where nothing was asked for.
double belady_hit_ratio(std::span<const ExpertAsk> asks, std::size_t first, std::vector<int> experts_of_layer,
                        int slots);

}  // namespace junto
