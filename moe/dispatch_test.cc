#include "moe/dispatch.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "base/error.h"

namespace junto {
namespace {

RoutePlan random_plan(int units, int experts, std::mt19937& random) {
  RoutePlan plan;
  for (int u = 0; u < units; ++u) {
    const int slots = std::uniform_int_distribution<int>(0, std::min(experts, 4))(random);
    for (int s = 0; s < slots; ++s) {
      plan.expert.push_back(std::uniform_int_distribution<int>(0, experts - 1)(random));
      plan.weight.push_back(std::uniform_real_distribution<float>(-1, 1)(random));
    }
    plan.offset.push_back(static_cast<std::int32_t>(plan.expert.size()));
  }
  return plan;
}

TEST(Dispatch, EverySlotIsInTheGroupOfItsExpert) {
  std::mt19937 random(1);
  ExpertGroups groups;  // reused: what an earlier call left must not show
  for (int round = 0; round < 500; ++round) {
    const int experts = 1 + round % 17;
    const RoutePlan plan = random_plan(round % 23, experts, random);
    group_by_expert(plan, experts, groups);
    std::vector<int> seen(plan.slots(), 0);
    std::vector<std::int32_t> active;
    for (int e = 0; e < experts; ++e) {
      const auto slots = groups.slots_of(e), units = groups.units_of(e);
      EXPECT_TRUE(std::is_sorted(slots.begin(), slots.end()));
      if (!slots.empty()) active.push_back(e);
      for (std::size_t i = 0; i < slots.size(); ++i) {
        ++seen[slots[i]];
        EXPECT_EQ(plan.expert[slots[i]], e);
        EXPECT_LE(plan.offset[units[i]], slots[i]);
        EXPECT_GT(plan.offset[units[i] + 1], slots[i]);
      }
    }
    EXPECT_EQ(groups.active, active);
    EXPECT_EQ(seen, std::vector<int>(plan.slots(), 1));
  }
}

TEST(Dispatch, ZeroUnitsAndUnitsWithoutSlotsAreLegal) {
  ExpertGroups groups;
  RoutePlan plan;
  group_by_expert(plan, 3, groups);
  EXPECT_TRUE(groups.active.empty());
  plan.offset = {0, 0, 0};
  group_by_expert(plan, 3, groups);
  EXPECT_TRUE(groups.slots_of(2).empty());
  std::vector<float> out(4, 9.0f);
  combine(plan, {nullptr, 0, 2}, 0, 2, {out.data(), 2, 2});
  EXPECT_EQ(out, std::vector<float>(4, 0.0f));
}

TEST(Dispatch, RanksShareTheSlotsOfReplicas) {
  std::mt19937 random(2);
  for (int round = 0; round < 200; ++round) {
    const int experts = 6, ranks = 1 + round % 4;
    Placement placement{.version = 1, .ranks = ranks, .ranks_of_expert = {}};
    for (int e = 0; e < experts; ++e) {
      std::vector<std::int32_t> at;
      for (int r = 0; r < ranks; ++r) {
        if ((e + r) % ranks == 0 || std::uniform_int_distribution<int>(0, 1)(random)) at.push_back(r);
      }
      placement.ranks_of_expert.push_back(at);
    }
    check_placement(placement, experts);
    const RoutePlan plan = random_plan(40, experts, random);
    std::vector<int> seen(plan.slots(), 0);
    for (int rank = 0; rank < ranks; ++rank) {
      ExpertGroups groups;
      group_by_expert(plan, experts, placement, rank, groups);
      for (int e = 0; e < experts; ++e) {
        for (const std::int32_t slot : groups.slots_of(e)) {
          ++seen[slot];
          const auto& at = placement.ranks_of_expert[e];
          EXPECT_NE(std::find(at.begin(), at.end(), rank), at.end());
        }
      }
    }
    EXPECT_EQ(seen, std::vector<int>(plan.slots(), 1));
  }
}

TEST(Dispatch, LocalExecutionIsThePlacementWithOneRank) {
  std::mt19937 random(3);
  const RoutePlan plan = random_plan(50, 7, random);
  ExpertGroups all, local;
  group_by_expert(plan, 7, all);
  group_by_expert(plan, 7, Placement::local(7), 0, local);
  EXPECT_EQ(all.slot, local.slot);
  EXPECT_EQ(all.begin, local.begin);
}

TEST(Placement, MistakesAreRefused) {
  EXPECT_NO_THROW(check_placement(Placement::local(3), 3));
  EXPECT_THROW(check_placement(Placement::local(3), 4), Error);
  EXPECT_THROW(check_placement({0, 0, {}}, 0), Error);
  EXPECT_THROW(check_placement({0, 2, {{0}, {}}}, 2), Error);
  EXPECT_THROW(check_placement({0, 2, {{0}, {2}}}, 2), Error);
  EXPECT_THROW(check_placement({0, 2, {{0}, {-1}}}, 2), Error);
  EXPECT_THROW(check_placement({0, 2, {{0}, {1, 1}}}, 2), Error);
}

TEST(Combine, SumsInSlotOrderWhereverTheRangesAreCut) {
  std::mt19937 random(4);
  const int units = 13, columns = 37;
  const RoutePlan plan = random_plan(units, 5, random);
  Matrix<float> slots(std::max<std::int64_t>(plan.slots(), 1), columns);
  for (float& value : slots.values) value = std::uniform_real_distribution<float>(-1, 1)(random);
  Matrix<float> whole(units, columns), cut(units, columns);
  combine(plan, slots.view(), 0, units, whole.view());
  for (int u = units - 1; u >= 0; --u) combine(plan, slots.view(), u, u + 1, cut.view());
  EXPECT_EQ(std::memcmp(whole.values.data(), cut.values.data(), units * columns * sizeof(float)), 0);
  for (int u = 0; u < units; ++u) {
    for (int d = 0; d < columns; ++d) {
      float sum = 0.0f, plain = 0.0f;
      for (int s = plan.offset[u]; s < plan.offset[u + 1]; ++s) {
        const float term = plan.weight[s] * slots.view().at(s, d);
        sum = sum + term;
        plain = plain + slots.view().at(s, d);
      }
      ASSERT_EQ(whole.view().at(u, d), sum);
      combine(plan, slots.view(), u, u + 1, cut.view(), WeightOn::kInput);
      ASSERT_EQ(cut.view().at(u, d), plain);
    }
  }
}

}  // namespace
}  // namespace junto
