#include "moe/prune.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "moe/route.h"

namespace junto {
namespace {

RoutePlan random_plan(std::mt19937& random, int experts) {
  RoutePlan plan;
  const int units = static_cast<int>(random() % 20);
  for (int u = 0; u < units; ++u) {
    std::vector<int> ids(experts);
    std::iota(ids.begin(), ids.end(), 0);
    std::shuffle(ids.begin(), ids.end(), random);
    float weight = 1.0f;
    for (int s = static_cast<int>(random() % (experts + 1)); s > 0; --s) {
      plan.expert.push_back(ids[s - 1]);
      plan.weight.push_back(weight);
      weight -= static_cast<float>(random() % 3) / 64.0f;  // ties among them
    }
    plan.offset.push_back(static_cast<std::int32_t>(plan.expert.size()));
  }
  return plan;
}

struct Slot {
  int unit, place, expert, number;
  double weight;
};

std::vector<Slot> slots_of(const RoutePlan& plan) {
  std::vector<Slot> slots;
  for (int u = 0; u < plan.units(); ++u) {
    for (int s = plan.offset[u]; s < plan.offset[u + 1]; ++s) {
      slots.push_back({u, s - plan.offset[u], plan.expert[s], s, plan.weight[s]});
    }
  }
  return slots;
}

/// For each expert by itself: its slots by priority, the first so many of them.
std::vector<Slot> naive(const Capacity& rule, int experts, const RoutePlan& plan) {
  const std::vector<Slot> all = slots_of(plan);
  std::vector<Slot> kept;
  double sum_of_shares = 0.0;
  for (int e = 0; e < experts; ++e) sum_of_shares += rule.shares.empty() ? 1.0 : rule.shares[e];
  for (int e = 0; e < experts; ++e) {
    const double share = (rule.shares.empty() ? 1.0 : rule.shares[e]) / sum_of_shares;
    const double exact = static_cast<double>(rule.factor) * static_cast<double>(all.size()) * share;
    const std::size_t room = std::llround(exact) > exact - 1e-5 && std::fabs(exact - std::llround(exact)) < 1e-5
                                 ? std::llround(exact)
                                 : std::ceil(exact);
    std::vector<Slot> mine;
    for (const Slot& slot : all) {
      if (slot.expert == e) mine.push_back(slot);
    }
    const auto before = [&](const Slot& a, const Slot& b) {
      if (rule.priority == Capacity::Priority::kChoice && a.place != b.place) return a.place < b.place;
      if (rule.priority == Capacity::Priority::kWeight && a.weight != b.weight) return a.weight > b.weight;
      return a.number < b.number;
    };
    std::sort(mine.begin(), mine.end(), before);
    mine.resize(std::min(mine.size(), room));
    kept.insert(kept.end(), mine.begin(), mine.end());
  }
  std::sort(kept.begin(), kept.end(), [](const Slot& a, const Slot& b) { return a.number < b.number; });
  if (rule.drop == Capacity::Drop::kZero) return kept;
  for (int u = 0; u < plan.units(); ++u) {
    double before = 0.0, after = 0.0;
    for (const Slot& slot : all) before += slot.unit == u ? slot.weight : 0.0;
    for (const Slot& slot : kept) after += slot.unit == u ? slot.weight : 0.0;
    for (Slot& slot : kept) slot.weight *= slot.unit == u ? before / after : 1.0;
  }
  return kept;
}

TEST(Prune, IsTheRuleOnRandomPlans) {
  std::mt19937 random(1);
  std::int64_t dropped = 0;
  for (int round = 0; round < 2000; ++round) {
    const int experts = 1 + static_cast<int>(random() % 9);
    Capacity rule{.factor = static_cast<float>(random() % 16) / 8.0f,
                  .priority = static_cast<Capacity::Priority>(random() % 3),
                  .drop = static_cast<Capacity::Drop>(random() % 2)};
    if (random() % 2 == 0) {
      for (int e = 0; e < experts; ++e) rule.shares.push_back(static_cast<float>(1 + random() % 4));
    }
    const RoutePlan before = random_plan(random, experts);
    const std::vector<Slot> expected = naive(rule, experts, before);
    RoutePlan plan = before;
    std::vector<std::int32_t> kept;
    dropped += prune(rule, experts, plan, &kept);
    const std::vector<Slot> found = slots_of(plan);
    ASSERT_EQ(found.size(), expected.size());
    ASSERT_EQ(kept.size(), expected.size());
    ASSERT_EQ(plan.units(), before.units());
    for (std::size_t i = 0; i < found.size(); ++i) {
      EXPECT_EQ(kept[i], expected[i].number);
      EXPECT_EQ(found[i].unit, expected[i].unit);
      EXPECT_EQ(found[i].expert, expected[i].expert);
      EXPECT_NEAR(found[i].weight, expected[i].weight, 1e-5);
    }
  }
  EXPECT_GT(dropped, 1000);
}

/// An independent statement of add_awaited(): in order of id, so many of those that nobody has to wait for.
std::vector<std::uint8_t> naive_awaited(const RoutePlan& plan, const std::vector<LateDrop>& of_unit, int empty_slots,
                                        const std::vector<std::uint8_t>& resident) {
  std::vector<std::uint8_t> present = resident;
  for (const Slot& slot : slots_of(plan)) {
    if (slot.place == 0 || !of_unit[slot.unit]) present[slot.expert] = 1;
  }
  for (std::size_t e = 0; e < present.size(); ++e) empty_slots -= present[e] - resident[e];
  for (int e = 0; e < static_cast<int>(present.size()); ++e) {
    if (present[e] != 0 || std::ranges::find(plan.expert, e) == plan.expert.end()) continue;
    if (empty_slots-- > 0) present[e] = 1;
  }
  return present;
}

TEST(PruneLate, IsTheRuleOnRandomPlans) {
  std::mt19937 random(2);
  std::int64_t dropped = 0;
  for (int round = 0; round < 2000; ++round) {
    const int experts = 1 + static_cast<int>(random() % 9), empty_slots = static_cast<int>(random() % 4);
    const RoutePlan before = random_plan(random, experts);
    std::vector<LateDrop> of_unit;
    for (int u = 0; u < before.units(); ++u) {
      const LateDrop drops[] = {std::nullopt, Capacity::Drop::kZero, Capacity::Drop::kRenormalise};
      of_unit.push_back(drops[random() % 3]);
    }
    std::vector<std::uint8_t> resident;
    for (int e = 0; e < experts; ++e) resident.push_back(random() % 2);
    const std::vector<std::uint8_t> awaited = naive_awaited(before, of_unit, empty_slots, resident);
    std::vector<std::uint8_t> present = resident;
    add_awaited(before, of_unit, empty_slots, present);
    ASSERT_EQ(present, awaited);
    RoutePlan plan = before;
    dropped += prune_late(of_unit, present, plan);
    std::vector<Slot> expected;
    std::vector<double> sum_before(before.units()), sum_after(before.units());
    for (const Slot& slot : slots_of(before)) {
      sum_before[slot.unit] += slot.weight;
      if (of_unit[slot.unit] && awaited[slot.expert] == 0) continue;
      expected.push_back(slot);
      sum_after[slot.unit] += slot.weight;
    }
    const std::vector<Slot> found = slots_of(plan);
    ASSERT_EQ(found.size(), expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
      const int u = expected[i].unit;
      const bool scaled = of_unit[u] == Capacity::Drop::kRenormalise;
      EXPECT_EQ(found[i].unit, u);
      EXPECT_EQ(found[i].expert, expected[i].expert);
      EXPECT_NEAR(found[i].weight, expected[i].weight * (scaled ? sum_before[u] / sum_after[u] : 1.0), 1e-5);
    }
  }
  EXPECT_GT(dropped, 500);
}

TEST(Prune, RouteOfABatchPrunesAndRouteOfAUnitDoesNot) {
  const RouterSpec spec{.experts = 2, .select = TopK{1}, .prune = Capacity{.factor = 1.0f}};
  std::vector<float> logits = {1, 0, 1, 0, 1, 0, 1, 0};
  RouteScratch scratch;
  RoutePlan plan;
  std::vector<float> copy = logits;
  route(spec, {}, {copy.data(), 4, 2}, {}, scratch, plan);
  EXPECT_EQ(plan.offset, (std::vector<std::int32_t>{0, 1, 2, 2, 2}));  // two rows an expert: the first come
  plan.clear();
  route_unit(spec, {}, logits, {}, scratch, plan);
  EXPECT_EQ(plan.slots(), 1);
}

}  // namespace
}  // namespace junto
