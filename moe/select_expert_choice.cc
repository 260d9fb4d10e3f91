#include <algorithm>
#include <cmath>

#include "moe/select.h"

namespace junto {

void select(const ExpertChoice&, const UnitScores& unit, SelectScratch&, Chosen& chosen) {
  largest_k(unit.biased_scores, static_cast<int>(unit.biased_scores.size()), chosen);
}

void select_units(const ExpertChoice& rule, MatrixView<const float> biased_scores, std::vector<Chosen>& chosen) {
  const std::int64_t units = biased_scores.rows, experts = biased_scores.cols;
  chosen.assign(static_cast<std::size_t>(units), {});
  if (units == 0) return;
  const double share = static_cast<double>(rule.factor) * static_cast<double>(units) / static_cast<double>(experts);
  const int rows = static_cast<int>(std::clamp<double>(std::floor(share), 1.0, static_cast<double>(units)));
  std::vector<float> of_units(static_cast<std::size_t>(units));
  Chosen taken;
  for (std::int64_t e = 0; e < experts; ++e) {
    for (std::int64_t u = 0; u < units; ++u) of_units[u] = biased_scores.row(u)[e];
    largest_k(of_units, rows, taken);
    for (const std::int32_t u : taken) chosen[u].push_back(static_cast<std::int32_t>(e));
  }
  for (std::int64_t u = 0; u < units; ++u) {
    const std::span<const float> scores = biased_scores.row(u);
    std::stable_sort(chosen[u].begin(), chosen[u].end(),
                     [&](std::int32_t a, std::int32_t b) { return scores[a] > scores[b]; });
  }
}

}  // namespace junto
