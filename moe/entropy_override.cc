#include <algorithm>
#include <cmath>
#include <limits>

#include "moe/select.h"

namespace junto {

// Half an ulp of the sum decides nothing that matters, but double costs nothing here and 1 - sum cancels near order 1.
bool is_unsure(const EntropyOverride& rule, const UnitScores& unit, SelectScratch& scratch) {
  scratch.values.resize(unit.logits.size());
  const float largest = unit.logits.empty() ? 0.0f : *std::max_element(unit.logits.begin(), unit.logits.end());
  softmax(unit.logits, largest, scratch.values);
  const double order = rule.order, eps = rule.eps;
  const bool shannon = rule.kind == Entropy::kShannon || std::fabs(order - 1.0) < 1e-3;
  double sum = 0.0, candidates = 0.0;
  for (std::size_t e = 0; e < scratch.values.size(); ++e) {
    if (unit.logits[e] == -std::numeric_limits<float>::infinity()) continue;
    const double p = static_cast<double>(scratch.values[e]) + eps;
    candidates += 1.0;
    if (p > 0.0) sum += shannon ? -p * std::log(p) : std::pow(p, order);
  }
  if (candidates < 2.0) return false;
  double entropy = sum, most = std::log(candidates);
  if (!shannon && rule.kind == Entropy::kTsallis) {
    entropy = (1.0 - sum) / (order - 1.0);
    most = (1.0 - std::pow(candidates, 1.0 - order)) / (order - 1.0);
  } else if (!shannon) {
    entropy = std::log(sum) / (1.0 - order);
  }
  return entropy / most > static_cast<double>(rule.threshold);
}

}  // namespace junto
