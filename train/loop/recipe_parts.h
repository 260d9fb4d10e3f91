// Whether a recipe can be trained by several processes, each of which has a part of every batch.
#pragma once

#include "train/loop/recipe.h"

namespace junto {

/// Throws Error naming the field that stands in the way: a placement of another number of processes, a batch that
/// `ranks` does not divide, routing by which all units of a batch compete, what takes all experts in one process where
/// they are parted. Returns the placement at the begin.
PlacementGrid check_parts(const Recipe& recipe, int ranks);

}  // namespace junto
