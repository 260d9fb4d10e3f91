#include "moe/prefer_resident.h"

#include <gtest/gtest.h>

#include <random>

#include "moe/route.h"

namespace junto {
namespace {

/// The plan of one unit under a margin.
RoutePlan routed(const RouterSpec& spec, std::vector<float> logits, float margin,
                 const std::vector<std::uint8_t>& resident, std::int64_t* preferred = nullptr) {
  RouteScratch scratch;
  RoutePlan plan;
  const CompiledRouter router = compile_router(spec, LayerPolicy{.prefer_resident = margin});
  route_unit(router, logits, {}, scratch, plan, {}, 0, resident);
  if (preferred) *preferred = scratch.preferred;
  return plan;
}

TEST(PreferResident, AnExpertInMemoryWinsWithinTheMarginAndKeepsItsWeight) {
  const RouterSpec spec{.experts = 4, .score = Score::kLogit, .select = TopK{2}, .weigh = Weigh::kRaw};
  const std::vector<float> logits = {1.0f, 0.9f, 0.6f, 0.5f};
  std::int64_t preferred = 0;
  const RoutePlan near = routed(spec, logits, 0.45f, {0, 0, 1, 0}, &preferred);
  EXPECT_EQ(near.expert, (std::vector<std::int32_t>{0, 2}));
  EXPECT_EQ(near.weight, (std::vector<float>{1.0f, 0.6f}));
  EXPECT_EQ(preferred, 1);
  const RoutePlan far = routed(spec, logits, 0.25f, {0, 0, 1, 0}, &preferred);
  EXPECT_EQ(far.expert, (std::vector<std::int32_t>{0, 1}));
  EXPECT_EQ(preferred, 0);
}

TEST(PreferResident, NothingChangesWithMarginZeroOrAllInMemory) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  std::int64_t changed = 0;
  for (int round = 0; round < 500; ++round) {
    RouterSpec spec{.experts = 16, .score = static_cast<Score>(random() % 3), .select = TopK{4}};
    if (random() % 2 == 0) spec.select = TopP{.p = 0.6f};
    std::vector<float> logits(16);
    std::vector<std::uint8_t> resident(16);
    for (float& logit : logits) logit = normal(random);
    for (std::uint8_t& is_in : resident) is_in = random() % 2;
    const RoutePlan own = routed(spec, logits, 0.0f, {});
    for (const RoutePlan& plan :
         {routed(spec, logits, 0.0f, resident), routed(spec, logits, 0.3f, std::vector<std::uint8_t>(16, 1))}) {
      ASSERT_EQ(plan.expert, own.expert);
      ASSERT_EQ(plan.weight, own.weight);
    }
    const RoutePlan swayed = routed(spec, logits, 0.3f, resident);
    const auto missing = [&](const RoutePlan& plan) {
      return std::ranges::count_if(plan.expert, [&](std::int32_t e) { return resident[e] == 0; });
    };
    changed += swayed.expert != own.expert;
    if (std::holds_alternative<TopK>(spec.select)) {
      EXPECT_LE(missing(swayed), missing(own));
    }
  }
  EXPECT_GT(changed, 100);
}

TEST(PreferResident, AForbiddenExpertStaysForbidden) {
  const RouterSpec spec{.experts = 3, .select = TopK{2}};
  RouteScratch scratch;
  RoutePlan plan;
  std::vector<float> logits = {1, 2, 3};
  const CompiledRouter router = compile_router(spec, LayerPolicy{.forbidden = {1}, .prefer_resident = 10.0f});
  const std::vector<std::uint8_t> resident = {0, 1, 0};
  route_unit(router, logits, {}, scratch, plan, {}, 0, resident);
  EXPECT_EQ(plan.expert, (std::vector<std::int32_t>{2, 0}));
}

}  // namespace
}  // namespace junto
