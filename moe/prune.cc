#include "moe/prune.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace junto {
namespace {

/// Slots in the order in which they are served.
std::vector<std::int32_t> by_priority(const Capacity& rule, const RoutePlan& plan) {
  std::vector<std::int32_t> order(static_cast<std::size_t>(plan.slots()));
  std::iota(order.begin(), order.end(), 0);
  if (rule.priority == Capacity::Priority::kOrder) return order;
  if (rule.priority == Capacity::Priority::kWeight) {
    std::stable_sort(order.begin(), order.end(),
                     [&](std::int32_t a, std::int32_t b) { return plan.weight[a] > plan.weight[b]; });
    return order;
  }
  std::vector<std::int32_t> place(order.size());  // of the slot in its unit
  for (std::int64_t unit = 0; unit < plan.units(); ++unit) {
    for (std::int32_t slot = plan.offset[unit]; slot < plan.offset[unit + 1]; ++slot) {
      place[slot] = slot - plan.offset[unit];
    }
  }
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) { return place[a] < place[b]; });
  return order;
}

/// The factor that brings the slots of one unit that stay to the sum of before; 1 where there is none.
float factor_of(Capacity::Drop drop, double before, double after) {
  if (drop == Capacity::Drop::kZero || before == after) return 1.0f;
  if (std::fabs(after) <= kLeastKept * std::fabs(before)) return 1.0f;
  return static_cast<float>(before / after);
}

/// Takes out the slots that do not stay; drop_of(unit) says what becomes of the weights of the others.
template <class DropOf>
std::int64_t keep_slots(std::span<const char> stays, RoutePlan& plan, std::vector<std::int32_t>* kept,
                        const DropOf& drop_of) {
  if (kept != nullptr) kept->clear();
  const std::int64_t slots = plan.slots();
  std::int32_t to = 0, begin = 0;
  for (std::int64_t unit = 0; unit < plan.units(); ++unit) {
    const std::int32_t end = plan.offset[unit + 1], first = to;
    double before = 0.0, after = 0.0;
    for (std::int32_t slot = begin; slot < end; ++slot) {
      before += plan.weight[slot];
      if (!stays[slot]) continue;
      after += plan.weight[slot];
      plan.expert[to] = plan.expert[slot];
      plan.weight[to++] = plan.weight[slot];
      if (kept != nullptr) kept->push_back(slot);
    }
    const float factor = factor_of(drop_of(unit), before, after);
    for (std::int32_t slot = first; slot < to && factor != 1.0f; ++slot) plan.weight[slot] *= factor;
    plan.offset[unit + 1] = to;
    begin = end;
  }
  plan.expert.resize(static_cast<std::size_t>(to));
  plan.weight.resize(static_cast<std::size_t>(to));
  return slots - to;
}

}  // namespace

std::vector<std::int64_t> capacity_of_experts(const Capacity& rule, std::int64_t slots, int experts) {
  const double sum =
      rule.shares.empty() ? static_cast<double>(experts) : std::accumulate(rule.shares.begin(), rule.shares.end(), 0.0);
  std::vector<std::int64_t> rows(static_cast<std::size_t>(experts));
  for (std::size_t e = 0; e < rows.size(); ++e) {
    const double share = (rule.shares.empty() ? 1.0 : static_cast<double>(rule.shares[e])) / sum;
    // What is an integer in exact arithmetic must not be rounded up for an error in its last bit.
    const double exact = static_cast<double>(rule.factor) * static_cast<double>(slots) * share;
    rows[e] = static_cast<std::int64_t>(std::ceil(exact - 1e-6 * std::max(1.0, exact)));
  }
  return rows;
}

std::int64_t prune(const Capacity& rule, int experts, RoutePlan& plan, std::vector<std::int32_t>* kept) {
  std::vector<std::int64_t> room = capacity_of_experts(rule, plan.slots(), experts);
  std::vector<char> stays(static_cast<std::size_t>(plan.slots()), 0);
  for (const std::int32_t slot : by_priority(rule, plan)) stays[slot] = room[plan.expert[slot]]-- > 0;
  return keep_slots(stays, plan, kept, [&](std::int64_t) { return rule.drop; });
}

void add_awaited(const RoutePlan& plan, std::span<const LateDrop> of_unit, int empty_slots,
                 std::vector<std::uint8_t>& present) {
  const auto wait_for = [&](std::int32_t expert) {
    if (!std::exchange(present[expert], std::uint8_t{1})) --empty_slots;
  };
  std::vector<std::int32_t> others;
  for (std::int64_t unit = 0; unit < plan.units(); ++unit) {
    const std::span<const std::int32_t> experts = plan.experts_of(unit);
    const std::size_t waits = of_unit[unit] ? std::min<std::size_t>(1, experts.size()) : experts.size();
    for (const std::int32_t e : experts.first(waits)) wait_for(e);
    others.insert(others.end(), experts.begin() + static_cast<std::ptrdiff_t>(waits), experts.end());
  }
  std::ranges::sort(others);
  for (const std::int32_t e : others) {
    if (empty_slots > 0) wait_for(e);
  }
}

std::int64_t prune_late(std::span<const LateDrop> of_unit, std::span<const std::uint8_t> present, RoutePlan& plan) {
  std::vector<char> stays(static_cast<std::size_t>(plan.slots()));
  for (std::int64_t unit = 0; unit < plan.units(); ++unit) {
    for (std::int32_t slot = plan.offset[unit]; slot < plan.offset[unit + 1]; ++slot) {
      stays[slot] = !of_unit[unit] || present[plan.expert[slot]] != 0;
    }
  }
  return keep_slots(stays, plan, nullptr,
                    [&](std::int64_t unit) { return of_unit[unit].value_or(Capacity::Drop::kZero); });
}

}  // namespace junto
