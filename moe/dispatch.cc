#include "moe/dispatch.h"

#include <algorithm>
#include <string>

#include "base/error.h"

namespace junto {
namespace {

/// Counting sort of the slots that `keep(slot)` accepts, by expert.
template <class Keep>
void group(const RoutePlan& plan, int experts, ExpertGroups& groups, const Keep& keep) {
  const std::int32_t slots = static_cast<std::int32_t>(plan.slots());
  groups.begin.assign(experts + 1, 0);
  for (std::int32_t slot = 0; slot < slots; ++slot) groups.begin[plan.expert[slot] + 1] += keep(slot);
  groups.active.clear();
  for (int e = 0; e < experts; ++e) {
    if (groups.begin[e + 1] > 0) groups.active.push_back(e);
    groups.begin[e + 1] += groups.begin[e];
  }
  groups.slot.resize(groups.begin[experts]);
  groups.unit.resize(groups.begin[experts]);
  // begin[e] runs forward while e's slots are placed and ends where e + 1 begins; shifted back below.
  for (std::int64_t unit = 0; unit < plan.units(); ++unit) {
    for (std::int32_t slot = plan.offset[unit]; slot < plan.offset[unit + 1]; ++slot) {
      if (!keep(slot)) continue;
      const std::int32_t place = groups.begin[plan.expert[slot]]++;
      groups.slot[place] = slot;
      groups.unit[place] = static_cast<std::int32_t>(unit);
    }
  }
  for (int e = experts; e > 0; --e) groups.begin[e] = groups.begin[e - 1];
  groups.begin[0] = 0;
}

std::span<const std::int32_t> part(const std::vector<std::int32_t>& values, const std::vector<std::int32_t>& begin,
                                   int expert) {
  return {values.data() + begin[expert], static_cast<std::size_t>(begin[expert + 1] - begin[expert])};
}

}  // namespace

Placement Placement::local(int experts) {
  return {.version = 0, .ranks = 1, .ranks_of_expert = std::vector<std::vector<std::int32_t>>(experts, {0})};
}

void check_placement(const Placement& placement, int experts) {
  if (placement.ranks < 1) fail("placement", "ranks is " + std::to_string(placement.ranks) + ", expected at least 1");
  if (placement.ranks_of_expert.size() != static_cast<std::size_t>(experts)) {
    fail("placement", "places " + std::to_string(placement.ranks_of_expert.size()) + " experts, expected " +
                          std::to_string(experts));
  }
  for (int e = 0; e < experts; ++e) {
    const std::vector<std::int32_t>& ranks = placement.ranks_of_expert[e];
    const std::string name = "expert " + std::to_string(e);
    if (ranks.empty()) fail("placement", name + " is on no rank");
    for (std::size_t i = 0; i < ranks.size(); ++i) {
      if (ranks[i] < 0 || ranks[i] >= placement.ranks) {
        fail("placement",
             name + " is on rank " + std::to_string(ranks[i]) + ", expected 0.." + std::to_string(placement.ranks - 1));
      }
      if (std::find(ranks.begin(), ranks.begin() + i, ranks[i]) != ranks.begin() + i) {
        fail("placement", name + " is on rank " + std::to_string(ranks[i]) + " twice");
      }
    }
  }
}

std::span<const std::int32_t> ExpertGroups::slots_of(int expert) const {
  return part(slot, begin, expert);
}
std::span<const std::int32_t> ExpertGroups::units_of(int expert) const {
  return part(unit, begin, expert);
}

void group_by_expert(const RoutePlan& plan, int experts, ExpertGroups& groups) {
  group(plan, experts, groups, [](std::int32_t) { return true; });
}

void group_by_expert(const RoutePlan& plan, int experts, const Placement& placement, int rank, ExpertGroups& groups) {
  group(plan, experts, groups, [&](std::int32_t slot) {
    const std::vector<std::int32_t>& ranks = placement.ranks_of_expert[plan.expert[slot]];
    return ranks[slot % ranks.size()] == rank;
  });
}

void combine(const RoutePlan& plan, MatrixView<const float> slot_output, std::int64_t begin, std::int64_t end,
             MatrixView<float> out, WeightOn weight_on) {
  const std::int64_t columns = out.cols;
  for (std::int64_t unit = begin; unit < end; ++unit) {
    float* to = out.data + unit * out.stride;
    std::fill(to, to + columns, 0.0f);
    for (std::int32_t slot = plan.offset[unit]; slot < plan.offset[unit + 1]; ++slot) {
      const float weight = weight_on == WeightOn::kInput ? 1.0f : plan.weight[slot];
      const float* from = slot_output.data + slot * slot_output.stride;
      for (std::int64_t d = 0; d < columns; ++d) to[d] += weight * from[d];
    }
  }
}

}  // namespace junto
