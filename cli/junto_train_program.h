// The program junto-train, which stands beside junto and has LibTorch.
#pragma once

#include <string>
#include <vector>

namespace junto {

/// Becomes `junto-train ARGUMENTS...`. Throws Error where there is no such program; returns never.
int start_junto_train(const std::vector<std::string>& arguments);

}  // namespace junto
