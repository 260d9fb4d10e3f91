#include <algorithm>
#include <limits>

#include "moe/select.h"

namespace junto {
namespace {

/// The best or the sum of the best two of a group's biased scores; -inf for a group without candidates. A group of one
/// candidate has that one's score.
float score_of_group(GroupLimited::GroupScore rule, std::span<const float> group) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  float best = kNone, second = kNone;
  for (const float score : group) {
    if (score > best) {
      second = best;
      best = score;
    } else if (score > second) {
      second = score;
    }
  }
  return rule == GroupLimited::GroupScore::kMax || second == kNone ? best : best + second;
}

}  // namespace

void select(const GroupLimited& rule, const UnitScores& unit, SelectScratch& scratch, Chosen& chosen) {
  const std::size_t group_size = unit.biased_scores.size() / rule.groups;
  scratch.group_scores.resize(rule.groups);
  for (int g = 0; g < rule.groups; ++g) {
    scratch.group_scores[g] = score_of_group(rule.group_score, unit.biased_scores.subspan(g * group_size, group_size));
  }
  largest_k(scratch.group_scores, rule.top_groups, scratch.groups);
  scratch.values.assign(unit.biased_scores.size(), -std::numeric_limits<float>::infinity());
  for (const std::int32_t g : scratch.groups) {
    const std::span<const float> group = unit.biased_scores.subspan(g * group_size, group_size);
    std::copy(group.begin(), group.end(), scratch.values.begin() + g * group_size);
  }
  largest_k(scratch.values, rule.k, chosen);
}

}  // namespace junto
