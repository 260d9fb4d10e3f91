#include "moe/transition_table.h"

#include <algorithm>
#include <cstddef>
#include <numeric>

namespace junto {

TransitionTable::TransitionTable(int experts_before, int experts_after)
    : uses_(static_cast<std::size_t>(experts_before), 0.0f),
      followed_(uses_.size() * static_cast<std::size_t>(experts_after), 0.0f) {}

void TransitionTable::learn(std::span<const std::int32_t> before, std::span<const std::int32_t> after) {
  const std::size_t width = followed_.size() / uses_.size();
  const float share = 1 / static_cast<float>(std::max<std::size_t>(1, before.size()));
  for (const std::int32_t b : before) {
    uses_[static_cast<std::size_t>(b)] += share;
    float* const row = followed_.data() + static_cast<std::size_t>(b) * width;
    for (const std::int32_t a : after) row[a] += share;
  }
}

void TransitionTable::predict(std::span<const std::int32_t> before, std::span<const float> prior,
                              std::span<float> likely) const {
  const float all = std::accumulate(prior.begin(), prior.end(), 0.0f);
  std::ranges::fill(likely, 0.0f);
  for (const std::int32_t b : before) {
    const float* const row = followed_.data() + static_cast<std::size_t>(b) * likely.size();
    const float uses = uses_[static_cast<std::size_t>(b)] + 1;
    for (std::size_t a = 0; a < likely.size(); ++a) {
      likely[a] += (row[a] + (all > 0 ? prior[a] / all : 0)) / uses;
    }
  }
}

}  // namespace junto
