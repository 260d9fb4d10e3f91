// Which experts an earlier run asked for, token by token: what a predictor learns from.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace junto {

struct PastRoutes {
  std::vector<int> experts;                      // [stages], E of each (moe/stages.h)
  std::vector<std::vector<std::int32_t>> asked;  // [tokens * stages], token by token

  std::int64_t tokens() const { return experts.empty() ? 0 : std::ssize(asked) / std::ssize(experts); }
  std::span<const std::int32_t> asked_by(std::int64_t token, int stage) const {
    return asked[static_cast<std::size_t>(token) * experts.size() + static_cast<std::size_t>(stage)];
  }
};

}  // namespace junto
