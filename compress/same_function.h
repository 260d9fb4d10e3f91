// Whether two configurations describe the same function of the same weights.
#pragma once

#include <string>

#include "model/config.h"

namespace junto {

/// Empty where `a` and `b` compute the same; else the first thing in which they differ, for a message: "block 1:
/// router". Left out of the comparison: how weights are stored (pairing of rotated rows, norm weights less one, tied
/// embeddings), names, and the context length. Frequencies may differ by rounding. Routers that are written differently
/// and weigh alike are the same: a softmax over all experts renormalised over the chosen is one over the chosen.
std::string first_difference(const ModelConfig& a, const ModelConfig& b);

}  // namespace junto
