// Whether a recipe can be trained by several processes, each of which has a part of every batch.
#pragma once

#include "train/loop/recipe.h"

namespace junto {

/// Throws Error naming the field that stands in the way: a batch that `ranks` does not divide, routing by which all
/// units of a batch compete. One rank: nothing does.
void check_parts(const Recipe& recipe, int ranks);

}  // namespace junto
