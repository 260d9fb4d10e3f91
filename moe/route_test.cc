#include "moe/route.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "moe/test_random_specs.h"
#include "moe/test_route_reference.h"

namespace junto {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

struct Slots {
  std::vector<std::int32_t> experts;
  std::vector<float> weights;
};

Slots route_one(const RouterSpec& spec, std::vector<float> logits, const LayerPolicy& policy = {},
                const std::vector<float>& bias = {}) {
  RouteScratch scratch;
  RoutePlan plan;
  route_unit(spec, policy, logits, bias, scratch, plan);
  EXPECT_EQ(plan.units(), 1);
  return {plan.expert, plan.weight};
}

TEST(Route, AgreesWithTheReferenceOnRandomSpecs) {
  RandomSpecs random(1);
  RouteScratch scratch;
  RoutePlan plan;
  int doubtful = 0;
  constexpr int kRounds = 20000;
  for (int round = 0; round < kRounds; ++round) {
    RouterSpec spec = random.spec();
    const bool bare = random.chance(0.7f);  // scaling and capping in float would split or join ties
    if (bare) spec.logit_scale = 1.0f, spec.logit_softcap = spec.logit_deviation = 0.0f;
    std::vector<float> logits = random.logits(spec.experts), bias(spec.selection_bias ? spec.experts : 0);
    for (float& value : bias) value = random.real(-0.2f, 0.5f);
    std::vector<float> edited = logits;
    plan.clear();
    const std::int64_t key = random.integer(0, 5);
    route_unit(spec, {}, edited, bias, scratch, plan, {}, key);
    logits = reference::with_deviation(logits, spec.logit_deviation);
    for (float& logit : logits) {
      if (!(logit > -kInfinity)) continue;
      logit *= spec.logit_scale;
      if (spec.logit_softcap > 0) logit = spec.logit_softcap * std::tanh(logit / spec.logit_softcap);
    }
    const reference::Routed expected = reference::Router(spec, logits, bias, key).route();
    if (expected.margin < 2e-5) {
      ++doubtful;
      continue;
    }
    ASSERT_EQ(plan.slots(), static_cast<std::int64_t>(expected.slots.size())) << to_json(spec);
    for (std::int64_t s = 0; s < plan.slots(); ++s) {
      // Weights that agree to rounding may stand in either order: compare as sets, and our own order by itself.
      const auto found = std::find_if(expected.slots.begin(), expected.slots.end(),
                                      [&](const auto& slot) { return slot.first == plan.expert[s]; });
      ASSERT_NE(found, expected.slots.end()) << to_json(spec);
      EXPECT_NEAR(plan.weight[s], found->second, 2e-5 * std::max(1.0, std::fabs(found->second))) << to_json(spec);
      if (s == 0) continue;
      const bool in_order = plan.weight[s - 1] > plan.weight[s] ||
                            (plan.weight[s - 1] == plan.weight[s] && plan.expert[s - 1] < plan.expert[s]);
      EXPECT_TRUE(in_order) << to_json(spec);
    }
  }
  EXPECT_LT(doubtful, kRounds / 3);
}

TEST(Route, AWeightlessExpertLeavesItsWeightToItsPartner) {
  const RouterSpec spec{.experts = 4, .select = TopK{2}, .weigh = Weigh::kRenormalised, .weightless = 1};
  const auto [experts, weights] = route_one(spec, {0.0f, 1.0f, -1.0f, 3.0f});
  EXPECT_EQ(experts, (std::vector<std::int32_t>{1, 3}));  // the best has none, and stands last
  EXPECT_EQ(weights, (std::vector<float>{1.0f, 0.0f}));
}

TEST(Route, TwoWeightlessExpertsGiveNothing) {
  const RouterSpec spec{.experts = 4, .select = TopK{2}, .weigh = Weigh::kRenormalised, .weightless = 2};
  const auto [experts, weights] = route_one(spec, {0.0f, 1.0f, 2.0f, 3.0f});
  EXPECT_EQ(experts, (std::vector<std::int32_t>{2, 3}));
  EXPECT_EQ(weights, (std::vector<float>{0.0f, 0.0f}));
}

TEST(Route, UnitsDoNotSeeEachOther) {
  RandomSpecs random(2);
  for (int round = 0; round < 200; ++round) {
    const RouterSpec spec = random.spec();
    if (std::holds_alternative<ExpertChoice>(spec.select)) continue;  // they compete
    constexpr int kUnits = 5;
    std::vector<float> logits, bias(spec.experts, 0.01f);
    for (int u = 0; u < kUnits; ++u) {
      const std::vector<float> unit = random.logits(spec.experts);
      logits.insert(logits.end(), unit.begin(), unit.end());
    }
    std::vector<float> alone = logits;
    RouteScratch scratch;
    RoutePlan together;
    route(spec, {}, {logits.data(), kUnits, spec.experts}, bias, scratch, together);
    for (int u = kUnits - 1; u >= 0; --u) {
      RoutePlan plan;
      RouteScratch fresh;
      route_unit(spec, {}, std::span(alone).subspan(u * spec.experts, spec.experts), bias, fresh, plan);
      ASSERT_EQ(plan.slots(), together.offset[u + 1] - together.offset[u]);
      EXPECT_TRUE(std::equal(plan.expert.begin(), plan.expert.end(), together.experts_of(u).begin()));
      EXPECT_TRUE(std::equal(plan.weight.begin(), plan.weight.end(), together.weights_of(u).begin()));
    }
  }
}

TEST(Route, BiasedScoresSelectAndUnbiasedOnesWeigh) {
  RouterSpec spec{.experts = 3, .score = Score::kSigmoid, .selection_bias = true, .select = TopK{1}};
  const Slots slots = route_one(spec, {2.0f, 0.0f, -1.0f}, {}, {0.0f, 0.0f, 5.0f});
  EXPECT_EQ(slots.experts, std::vector<std::int32_t>{2});
  EXPECT_NEAR(slots.weights[0], 1 / (1 + std::exp(1.0)), 1e-7);
}

TEST(Route, ABiasDoesNotBringBackWhatIsNoCandidate) {
  RouterSpec spec{.experts = 3, .score = Score::kSigmoid, .selection_bias = true, .select = TopK{3}};
  const Slots slots = route_one(spec, {kNan, -kInfinity, 0.0f}, {}, {9.0f, 9.0f, kNan});
  EXPECT_TRUE(slots.experts.empty());
}

TEST(Route, SlotsStandByFinalWeightThenId) {
  RouterSpec spec{.experts = 4, .score = Score::kSoftmax, .selection_bias = true, .select = TopK{3}};
  EXPECT_EQ(route_one(spec, {1, 3, 2, 3}, {}, {9, 0, 5, 0}).experts, (std::vector<std::int32_t>{1, 2, 0}));
  spec.weigh = Weigh::kConstant;
  EXPECT_EQ(route_one(spec, {1, 3, 2, 3}, {}, {9, 0, 5, 0}).experts, (std::vector<std::int32_t>{0, 1, 2}));
}

TEST(Route, AllNanIsZeroSlotsUnderEveryRule) {
  RandomSpecs random(3);
  for (int round = 0; round < 300; ++round) {
    const RouterSpec spec = random.spec();
    const std::vector<float> bias(spec.experts, 1.0f);
    for (const float value : {kNan, -kInfinity}) {
      EXPECT_TRUE(route_one(spec, std::vector<float>(spec.experts, value), {}, bias).experts.empty()) << to_json(spec);
    }
  }
}

TEST(Route, PositiveInfinityIsALargeLogit) {
  const RouterSpec spec{.experts = 3, .select = TopK{2}, .weigh = Weigh::kRenormalised};
  const Slots slots = route_one(spec, {kInfinity, 0.0f, kInfinity});
  EXPECT_EQ(slots.experts, (std::vector<std::int32_t>{0, 2}));
  EXPECT_EQ(slots.weights, (std::vector<float>{0.5f, 0.5f}));
}

TEST(Route, ZeroSumsStayZeroInsteadOfNan) {
  const RouterSpec spec{.experts = 2, .score = Score::kSigmoid, .select = TopK{2}, .weigh = Weigh::kRenormalised};
  EXPECT_EQ(route_one(spec, {-200.0f, -200.0f}).weights, (std::vector<float>{0.0f, 0.0f}));
}

TEST(Route, ScoresAreHandedOut) {
  const RouterSpec spec{.experts = 2, .select = TopK{1}};
  std::vector<float> logits = {0.0f, 0.0f}, scores(2);
  RouteScratch scratch;
  RoutePlan plan;
  route_unit(spec, {}, logits, {}, scratch, plan, scores);
  EXPECT_EQ(scores, (std::vector<float>{0.5f, 0.5f}));
}

TEST(RoutePolicy, TopKAloneKeepsTheModelsWeighing) {
  RouterSpec spec{.experts = 4, .select = TopK{2}, .weigh = Weigh::kRaw};
  const std::vector<float> logits = {0.0f, 1.0f, 2.0f, 3.0f};
  const Slots two = route_one(spec, logits), one = route_one(spec, logits, {.top_k = 1});
  ASSERT_EQ(one.experts, std::vector<std::int32_t>{3});
  EXPECT_EQ(one.weights[0], two.weights[0]);  // not renormalised
  spec.weigh = Weigh::kRenormalised;
  EXPECT_EQ(route_one(spec, logits, {.top_k = 1}).weights[0], 1.0f);
  EXPECT_EQ(route_one(spec, logits, {.top_k = 3}).experts.size(), 3u);
}

TEST(RoutePolicy, TopKChangesOnlyTheKOfGroups) {
  const RouterSpec spec{.experts = 8, .select = GroupLimited{.k = 4, .groups = 4, .top_groups = 2}};
  const CompiledRouter router = compile_router(spec, {.top_k = 2});
  EXPECT_EQ(std::get<GroupLimited>(router.spec.select), (GroupLimited{.k = 2, .groups = 4, .top_groups = 2}));
  EXPECT_TRUE(router.edits.empty());
}

TEST(RoutePolicy, RulesAreReplacedAndBounded) {
  const RouterSpec spec{.experts = 8, .select = TopK{3}};
  EXPECT_EQ(compile_router(spec, {.top_p = 0.5f}).spec.select, SelectRule(TopP{0.5f, true, 3}));
  EXPECT_EQ(compile_router(spec, {.top_k = 5, .top_p = 0.5f}).spec.select, SelectRule(TopP{0.5f, true, 5}));
  EXPECT_EQ(compile_router(spec, {.top_p = 0.5f, .max_experts = 6}).spec.select, SelectRule(TopP{0.5f, true, 6}));
  EXPECT_EQ(compile_router(spec, {.threshold = 0.2f}).spec.select, SelectRule(Threshold{0.2f, 0, 0}));
  EXPECT_EQ(compile_router(spec, {.threshold = 0.2f, .max_experts = 2}).spec.select, SelectRule(Threshold{0.2f, 0, 2}));
  EXPECT_EQ(compile_router(spec, {.max_experts = 2}).spec.select, SelectRule(TopK{2}));
  EXPECT_EQ(compile_router(spec, {.max_experts = 7}).spec.select, SelectRule(TopK{3}));
}

TEST(RoutePolicy, RenormaliseGoesBothWays) {
  RouterSpec spec{.experts = 4, .score = Score::kLogit, .select = TopK{2}, .weigh = Weigh::kSoftmaxOfChosen};
  const std::vector<float> logits = {0.0f, 0.0f, 0.0f, 0.0f};
  EXPECT_EQ(route_one(spec, logits, {.renormalise = false}).weights, (std::vector<float>{0.25f, 0.25f}));
  EXPECT_EQ(route_one(spec, logits, {.renormalise = true}).weights, (std::vector<float>{0.5f, 0.5f}));
  spec = {.experts = 4, .select = TopK{2}, .weigh = Weigh::kRaw, .scale = 2.0f};
  EXPECT_EQ(route_one(spec, logits, {.renormalise = true}).weights, (std::vector<float>{1.0f, 1.0f}));
}

TEST(RoutePolicy, SparseMixerGivesWayWithItsWeights) {
  const RouterSpec spec{.experts = 4, .score = Score::kLogit, .select = SparseMixer{2, 0.01f}};
  const CompiledRouter router = compile_router(spec, {.top_p = 0.9f});
  EXPECT_EQ(router.spec.weigh, Weigh::kSoftmaxOfChosen);
  EXPECT_EQ(compile_router(spec, {.top_k = 1}).spec.select, SelectRule(SparseMixer{1, 0.01f}));
}

TEST(RoutePolicy, MasksAndOffsetsEditLogits) {
  const RouterSpec spec{.experts = 4, .select = TopK{2}};
  const std::vector<float> logits = {0.0f, 1.0f, 2.0f, 3.0f};
  EXPECT_EQ(route_one(spec, logits, {.forbidden = {3}}).experts, (std::vector<std::int32_t>{2, 1}));
  EXPECT_EQ(route_one(spec, logits, {.allowed = {0}}).experts, (std::vector<std::int32_t>{0}));
  EXPECT_EQ(route_one(spec, logits, {.allowed = {0}}).weights, (std::vector<float>{1.0f}));
  EXPECT_EQ(route_one(spec, logits, {.offsets = {{0, 9.0f}}}).experts, (std::vector<std::int32_t>{0, 3}));
  EXPECT_TRUE(route_one(spec, logits, {.forbidden = {0, 1, 2, 3}}).experts.empty());
  EXPECT_TRUE(route_one(spec, logits, {.forbidden = {1}, .allowed = {1}}).experts.empty());
}

TEST(RoutePolicy, UnitsUnderOtherPoliciesAndSpecsShareAScratch) {
  RandomSpecs random(5);
  RouteScratch shared;
  const LayerPolicy policies[] = {
      {}, {.top_k = 1}, {.renormalise = true}, {.forbidden = {0}}, {.offsets = {{0, 1.0f}}}};
  const RouterSpec specs[] = {random.spec(), random.spec(), random.spec()};
  for (int round = 0; round < 500; ++round) {
    const RouterSpec& spec = specs[random.integer(0, 2)];
    const LayerPolicy& policy = policies[random.integer(0, 4)];
    const std::vector<float> bias(spec.experts, 0.1f);
    std::vector<float> a = random.logits(spec.experts), b = a;
    RoutePlan plan, expected;
    RouteScratch fresh;
    route_unit(spec, policy, a, bias, shared, plan);
    route_unit(compile_router(spec, policy), b, bias, fresh, expected);
    ASSERT_EQ(plan.expert, expected.expert);
    ASSERT_EQ(plan.weight, expected.weight);
  }
}

// Phi-3.5-MoE in numbers worked by hand: round one sees 1.0 and 0.99 (0.01 apart, within 0.02), round two 0.99 alone.
TEST(SelectSparseMixer, EachRoundLeavesTheEarlierOut) {
  const RouterSpec spec{.experts = 3, .score = Score::kLogit, .select = SparseMixer{2, 0.01f}};
  const Slots slots = route_one(spec, {0.99f, 1.0f, 0.5f});
  EXPECT_EQ(slots.experts, (std::vector<std::int32_t>{0, 1}));
  EXPECT_FLOAT_EQ(slots.weights[0], 1.0f);
  EXPECT_NEAR(slots.weights[1], 1 / (1 + std::exp(-0.01)), 1e-6);
}

}  // namespace
}  // namespace junto
