#include <algorithm>

#include "moe/select.h"

namespace junto {

void select(const Gap& rule, const UnitScores& unit, SelectScratch&, Chosen& chosen) {
  largest_k(unit.biased_scores, rule.max_k + 1, chosen);  // one more: the drop below the last counts
  std::size_t keep = std::min<std::size_t>(chosen.size(), 1);
  float largest_drop = -1.0f;
  for (std::size_t count = 1; count < chosen.size(); ++count) {
    const float drop = unit.biased_scores[chosen[count - 1]] - unit.biased_scores[chosen[count]];
    if (drop > largest_drop) keep = count, largest_drop = drop;
  }
  chosen.resize(keep);
}

}  // namespace junto
