#include <algorithm>

#include "moe/select.h"

namespace junto {
namespace {

/// Shares of the mass, summing to 1 over the candidates: what p is measured in.
std::span<const float> shares(const UnitScores& unit, std::vector<float>& values) {
  if (unit.score == Score::kSoftmax) return unit.scores;
  values.resize(unit.scores.size());
  if (unit.score == Score::kLogit) {
    softmax(unit.logits, *std::max_element(unit.logits.begin(), unit.logits.end()), values);
    return values;
  }
  float sum = 0.0f;
  for (const float score : unit.scores) sum += score;
  for (std::size_t e = 0; e < values.size(); ++e) values[e] = sum > 0.0f ? unit.scores[e] / sum : 0.0f;
  return values;
}

}  // namespace

void select(const TopP& rule, const UnitScores& unit, SelectScratch& scratch, Chosen& chosen) {
  const int experts = static_cast<int>(unit.scores.size());
  if (experts == 0) return chosen.clear();
  const std::span<const float> mass = shares(unit, scratch.values);
  const int most = rule.max_k > 0 ? std::min(rule.max_k, experts) : experts;
  // Few experts hold most of the mass: the rest is put in order only where p asks for it.
  for (int k = std::min(16, most);; k = std::min(4 * k, most)) {
    largest_k(unit.biased_scores, k, chosen);
    float reached = 0.0f;
    for (std::size_t count = 0; count < chosen.size(); ++count) {
      reached += mass[chosen[count]];
      if (reached < rule.p || (rule.strict && reached == rule.p)) continue;
      const std::size_t reach = rule.inclusive || reached == rule.p ? count + 1 : std::max<std::size_t>(count, 1);
      const std::size_t least = std::max(reach, static_cast<std::size_t>(rule.min_k));
      if (least > chosen.size() && k < most) break;
      return chosen.resize(std::min(least, chosen.size()));
    }
    if (k == most) return;
  }
}

}  // namespace junto
