#include <algorithm>
#include <limits>

#include "moe/select.h"

namespace junto {

namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();

void largest_by_sorting(std::span<const float> values, int k, Chosen& chosen) {
  for (std::size_t e = 0; e < values.size(); ++e) {
    if (values[e] > kNone) chosen.push_back(static_cast<std::int32_t>(e));
  }
  const std::size_t count = std::min<std::size_t>(k, chosen.size());
  const auto better = [&](std::int32_t a, std::int32_t b) {
    return values[a] != values[b] ? values[a] > values[b] : a < b;
  };
  if (count < chosen.size()) std::nth_element(chosen.begin(), chosen.begin() + count, chosen.end(), better);
  std::sort(chosen.begin(), chosen.begin() + count, better);
  chosen.resize(count);
}

}  // namespace

// Keeps the best so far sorted: a value that does not enter costs one comparison, and most do not.
void largest_k(std::span<const float> values, int k, Chosen& chosen) {
  constexpr int kMaxByInsertion = 32;
  chosen.clear();
  if (k < 1) return;
  if (k > kMaxByInsertion) return largest_by_sorting(values, k, chosen);
  float entry = kNone;  // what a value must exceed
  for (std::size_t e = 0; e < values.size(); ++e) {
    const float value = values[e];
    if (!(value > entry)) continue;
    if (chosen.size() < static_cast<std::size_t>(k)) chosen.push_back(0);
    std::size_t place = chosen.size() - 1;
    for (; place > 0 && value > values[chosen[place - 1]]; --place) chosen[place] = chosen[place - 1];
    chosen[place] = static_cast<std::int32_t>(e);
    if (chosen.size() == static_cast<std::size_t>(k)) entry = values[chosen.back()];
  }
}

void select(const TopK& rule, const UnitScores& unit, SelectScratch&, Chosen& chosen) {
  largest_k(unit.biased_scores, rule.k, chosen);
}

}  // namespace junto
