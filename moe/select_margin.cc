#include <cstddef>

#include "moe/select.h"

namespace junto {

void select(const Margin& rule, const UnitScores& unit, SelectScratch&, Chosen& chosen) {
  largest_k(unit.biased_scores, rule.max_k, chosen);
  std::size_t keep = chosen.empty() ? 0 : 1;
  for (; keep < chosen.size(); ++keep) {
    const float best = unit.biased_scores[chosen[0]], score = unit.biased_scores[chosen[keep]];
    if (!(best - score <= (rule.of_pair ? rule.margin * (best + score) : rule.margin))) break;
  }
  chosen.resize(keep);
}

}  // namespace junto
