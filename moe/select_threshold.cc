#include <algorithm>
#include <limits>

#include "moe/select.h"

namespace junto {

void select(const Threshold& rule, const UnitScores& unit, SelectScratch& scratch, Chosen& chosen) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  const int experts = static_cast<int>(unit.scores.size());
  const int max_k = rule.max_k > 0 ? rule.max_k : experts;
  scratch.values.assign(unit.biased_scores.begin(), unit.biased_scores.end());
  int above = 0;
  for (int e = 0; e < experts; ++e) {
    if (unit.scores[e] >= rule.threshold) {
      above += unit.biased_scores[e] > kNone;
    } else {
      scratch.values[e] = kNone;
    }
  }
  // With too few above, those above stay and the best of the others join them.
  if (above >= rule.min_k) return largest_k(scratch.values, max_k, chosen);
  for (int e = 0; e < experts; ++e) scratch.values[e] = scratch.values[e] > kNone ? kNone : unit.biased_scores[e];
  largest_k(scratch.values, std::min(rule.min_k, max_k) - above, chosen);
  for (int e = 0; e < experts; ++e) {
    if (unit.scores[e] >= rule.threshold && unit.biased_scores[e] > kNone) chosen.push_back(e);
  }
  std::sort(chosen.begin(), chosen.end(), [&](std::int32_t a, std::int32_t b) {
    const float score_a = unit.biased_scores[a], score_b = unit.biased_scores[b];
    return score_a != score_b ? score_a > score_b : a < b;
  });
}

}  // namespace junto
