// In which order a carved block's experts stand in the file, and so in memory.
#pragma once

#include <vector>

#include "tensor/view.h"

namespace junto {

/// An order of the experts in which neighbours are often chosen by the same token: then their weights are one stream of
/// memory (or of the file) instead of two. chosen [E, T]: 1 where a token has the expert, less where at some of the
/// fitted numbers only. A heaviest path through all experts, by exchange of edges from a greedy one: not always the
/// best. Deterministic.
std::vector<int> order_by_company(MatrixView<const float> chosen);

}  // namespace junto
