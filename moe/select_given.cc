#include <algorithm>
#include <limits>

#include "moe/select.h"

namespace junto {
namespace {

/// splitmix64 (Steele et al., 2014): the same everywhere, for a checkpoint depends on it.
std::uint64_t mix(std::uint64_t z) {
  z += 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

}  // namespace

void select(const Given& rule, const UnitScores& unit, SelectScratch& scratch, Chosen& chosen) {
  chosen.clear();
  const auto experts = static_cast<std::uint64_t>(unit.biased_scores.size());
  if (rule.experts_of_key.empty()) {
    std::uint64_t hash = mix(static_cast<std::uint64_t>(unit.key) ^ mix(static_cast<std::uint64_t>(rule.seed)));
    const auto most = std::min(experts, static_cast<std::uint64_t>(std::max(rule.k, 0)));
    scratch.values.assign(experts, 0.0f);
    while (chosen.size() < most) {
      std::uint64_t expert = hash % experts;
      while (scratch.values[expert] != 0.0f) expert = (expert + 1) % experts;  // taken: the next that is not
      scratch.values[expert] = 1.0f;
      chosen.push_back(static_cast<std::int32_t>(expert));
      hash = mix(hash);
    }
  } else if (unit.key >= 0 && unit.key < static_cast<std::int64_t>(rule.experts_of_key.size())) {
    chosen = rule.experts_of_key[static_cast<std::size_t>(unit.key)];
  }
  std::erase_if(chosen,
                [&](std::int32_t e) { return !(unit.biased_scores[e] > -std::numeric_limits<float>::infinity()); });
  std::sort(chosen.begin(), chosen.end(), [&](std::int32_t a, std::int32_t b) {
    const float score_a = unit.biased_scores[a], score_b = unit.biased_scores[b];
    return score_a != score_b ? score_a > score_b : a < b;
  });
}

}  // namespace junto
