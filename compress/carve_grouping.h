// Balanced assignment: things into groups of fixed size, so that the sum of their gains is as large as possible.
#pragma once

#include <cstdint>
#include <vector>

#include "tensor/view.h"

namespace junto {

/// gain [F, G] of each thing in each group; group g takes exactly room[g] things (they sum to F). Returns the group of
/// each thing. Greedy by regret, then exchanges of pairs until none helps (or `rounds` are over): not always the
/// optimum, but no single exchange improves it. Deterministic; ties go to the lower index.
std::vector<int> assign_balanced(MatrixView<const float> gain, std::vector<std::int64_t> room, int rounds = 20);

}  // namespace junto
