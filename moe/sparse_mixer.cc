#include <algorithm>
#include <cmath>
#include <limits>

#include "moe/select.h"
#include "moe/weigh.h"

namespace junto {

void select(const SparseMixer& rule, const UnitScores& unit, SelectScratch&, Chosen& chosen) {
  largest_k(unit.biased_scores, rule.k, chosen);
}

void weigh_sparse_mixer(const SparseMixer& rule, const UnitScores& unit, std::span<const std::int32_t> chosen,
                        std::span<float> weights) {
  for (std::size_t round = 0; round < chosen.size(); ++round) {
    const float best = unit.logits[chosen[round]];
    const std::span<const std::int32_t> taken = chosen.first(round);
    float sum = 0.0f;
    for (std::size_t e = 0; e < unit.logits.size(); ++e) {
      const float logit = unit.logits[e];
      if (logit == -std::numeric_limits<float>::infinity()) continue;
      const float distance = (best - logit) / std::max(std::fabs(logit), best);
      if (distance > 2.0f * rule.jitter_eps) continue;  // 0 / 0 stays, as in the reference
      if (std::find(taken.begin(), taken.end(), static_cast<std::int32_t>(e)) != taken.end()) continue;
      sum += std::exp(logit - best);
    }
    weights[round] = 1.0f / sum;
  }
}

}  // namespace junto
