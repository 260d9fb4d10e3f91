#include "train/nn/route.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

#include "moe/test_random_specs.h"
#include "moe/test_route_reference.h"

namespace junto {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

at::Tensor rows(const std::vector<float>& values, std::int64_t columns) {
  return at::tensor(values).reshape({-1, columns});
}

CompiledRouter compiled(const RouterSpec& spec, const LayerPolicy& policy = {}) {
  return compile_router(spec, policy);
}

/// Thousands of specs, a few units each, with ties, NaN, infinities and rows without candidates.
TEST(RouteUnderAutograd, HasTheEnginesIdsWeightsAndCounts) {
  RandomSpecs random(11);
  RouteScratch scratch;
  constexpr int kRounds = 3000, kUnits = 3;
  for (int round = 0; round < kRounds; ++round) {
    const RouterSpec spec = random.batch_spec();
    std::vector<float> values;
    for (int unit = 0; unit < kUnits; ++unit) {
      std::vector<float> logits = random.logits(spec.experts);
      if (random.chance(0.05f)) std::fill(logits.begin(), logits.end(), random.chance(0.5f) ? kNan : -kInfinity);
      if (random.chance(0.05f)) logits[random.integer(0, spec.experts - 1)] = kInfinity;
      values.insert(values.end(), logits.begin(), logits.end());
    }
    std::vector<float> bias(spec.selection_bias ? spec.experts : 0);
    for (float& value : bias) value = random.real(-0.2f, 0.5f);
    LayerPolicy policy;
    if (random.chance(0.2f)) policy.forbidden = {random.integer(0, spec.experts - 1)};
    if (random.chance(0.2f)) policy.offsets = {{random.integer(0, spec.experts - 1), random.real(-2, 2)}};

    const at::Tensor logits = rows(values, spec.experts).set_requires_grad(true);
    RouteOptions options{.selection_bias = spec.selection_bias ? at::tensor(bias) : at::Tensor()};
    for (int unit = 0; unit < kUnits; ++unit) options.keys.push_back(random.integer(0, 4));
    const RoutedUnits routed = route_under_autograd(compiled(spec, policy), logits, options);
    RoutePlan plan, alone;
    std::vector<float> all = values, scores(spec.experts);
    route(compiled(spec, policy), {all.data(), kUnits, spec.experts}, bias, scratch, plan, options.keys);
    for (int unit = 0; unit < kUnits; ++unit) {
      std::vector<float> row(values.begin() + unit * spec.experts, values.begin() + (unit + 1) * spec.experts);
      route_unit(spec, policy, row, bias, scratch, alone, scores);
      for (int e = 0; e < spec.experts; ++e) {
        const float found = routed.scores[unit][e].item<float>();
        if (found == scores[e]) continue;  // infinities too
        ASSERT_NEAR(found, scores[e], 1e-5 * std::max(1.0f, std::fabs(scores[e]))) << to_json(spec);
        if (spec.experts > 8) e += spec.experts / 8;  // item() is slow
      }
    }
    ASSERT_EQ(routed.plan.expert, plan.expert) << to_json(spec);
    ASSERT_EQ(routed.plan.offset, plan.offset) << to_json(spec);
    ASSERT_EQ(routed.weights.numel(), plan.slots());
    for (std::int64_t s = 0; s < plan.slots(); ++s) {
      if (routed.weights.data_ptr<float>()[s] == plan.weight[s]) continue;  // infinities too
      ASSERT_NEAR(routed.weights.data_ptr<float>()[s], plan.weight[s], 1e-5 * std::max(1.0f, std::fabs(plan.weight[s])))
          << to_json(spec);
    }
    const at::Tensor load = load_of_experts(routed.plan, spec.experts);
    EXPECT_EQ(load.sum().item<float>(), static_cast<float>(plan.slots()));
    if (plan.slots() == 0 || !routed.weights.requires_grad()) continue;
    routed.weights.sum().backward();
    EXPECT_FALSE(logits.grad().isnan().any().item<bool>()) << to_json(spec) << logits << routed.weights;
  }
}

/// Sum over slots of upstream[expert] * weight by the reference, which shares no code with either half.
double reference_loss(const RouterSpec& spec, const std::vector<float>& logits, const std::vector<double>& upstream,
                      double* margin = nullptr) {
  const reference::Routed routed = reference::Router(spec, logits, {}).route();
  if (margin != nullptr) *margin = routed.margin;
  double sum = 0.0;
  for (const auto& [expert, weight] : routed.slots) sum += upstream[expert] * weight;
  return sum;
}

TEST(RouteUnderAutograd, GradientsAreTheDifferencesOfTheReference) {
  RandomSpecs random(12);
  constexpr double kStep = 1.0 / 2048;
  int checked = 0;
  for (int round = 0; round < 1500; ++round) {
    RouterSpec spec = random.spec();
    if (spec.experts > 24) continue;
    spec.selection_bias = false;  // so that only equal logits tie, whose choice a step would change
    spec.logit_scale = 1.0f, spec.logit_softcap = spec.logit_deviation = 0.0f;  // the reference takes edited logits
    std::vector<float> values = random.logits(spec.experts);
    std::vector<double> upstream(spec.experts);
    for (double& value : upstream) value = random.real(-1, 1);
    double margin = 0.0;
    reference_loss(spec, values, upstream, &margin);
    const std::set<float> different(values.begin(), values.end());
    if (margin < 0.01 || different.size() < values.size()) continue;

    const at::Tensor logits = rows(values, spec.experts).to(at::kDouble).set_requires_grad(true);
    const RoutedUnits routed = route_under_autograd(compiled(spec), logits);
    if (!routed.weights.requires_grad() || routed.plan.slots() == 0) continue;
    (routed.weights * at::tensor(upstream).index_select(0, experts_of_slots(routed.plan))).sum().backward();
    for (int e = 0; e < spec.experts; ++e) {
      const double found = logits.grad().data_ptr<double>()[e];
      if (!std::isfinite(values[e])) {
        EXPECT_EQ(found, 0.0);
        continue;
      }
      const auto difference = [&](double step) {
        std::vector<float> above = values, below = values;
        above[e] += static_cast<float>(step);
        below[e] -= static_cast<float>(step);
        return (reference_loss(spec, above, upstream) - reference_loss(spec, below, upstream)) /
               (static_cast<double>(above[e]) - static_cast<double>(below[e]));
      };
      // Richardson: the error of both differences is of the second order.
      const double expected = (4 * difference(kStep) - difference(2 * kStep)) / 3;
      ASSERT_NEAR(found, expected, 1e-5 * std::max<double>(1.0, std::fabs(expected) + spec.scale))
          << to_json(spec) << " expert " << e;
      ++checked;
    }
  }
  EXPECT_GT(checked, 500);
}

/// Capacity takes slots, not slopes: what stays has the gradient of weights that know of what went.
TEST(RouteUnderAutograd, GradientsOfPrunedWeightsAreDifferences) {
  for (const Capacity::Drop drop : {Capacity::Drop::kZero, Capacity::Drop::kRenormalise}) {
    const RouterSpec spec{.experts = 4,
                          .select = TopK{2},
                          .weigh = Weigh::kRenormalised,
                          .prune = Capacity{.factor = 0.75f, .priority = Capacity::Priority::kWeight, .drop = drop}};
    const std::vector<double> values = {2, 1, 0, -1, 1.5, 0.8, 0, 0.1, 0.2, 1.3, 0.9, -2, 1.1, 2.2, -0.5, 0.3};
    const std::vector<double> upstream = {0.3, -1.2, 0.7, 2.0};
    const auto loss = [&](const at::Tensor& logits) {
      const RoutedUnits routed = route_under_autograd(compiled(spec), logits);
      EXPECT_LT(routed.plan.slots(), 8);
      EXPECT_EQ(routed.weights.numel(), routed.plan.slots());
      return (routed.weights * at::tensor(upstream).index_select(0, experts_of_slots(routed.plan))).sum();
    };
    const at::Tensor logits = at::tensor(values).reshape({4, 4}).set_requires_grad(true);
    loss(logits).backward();
    for (std::int64_t i = 0; i < 16; ++i) {
      at::Tensor above = logits.detach().clone(), below = logits.detach().clone();
      above.data_ptr<double>()[i] += 1e-6;
      below.data_ptr<double>()[i] -= 1e-6;
      const double slope = (loss(above).item<double>() - loss(below).item<double>()) / 2e-6;
      EXPECT_NEAR(logits.grad().data_ptr<double>()[i], slope, 1e-8);
    }
  }
}

TEST(RouteUnderAutograd, OtherLogitsMayChoose) {
  const RouterSpec spec{.experts = 3, .select = TopK{1}};
  const at::Tensor logits = at::tensor({2.0f, 1.0f, 0.0f}).reshape({1, 3}).set_requires_grad(true);
  const at::Tensor noisy = at::tensor({0.0f, 0.0f, 9.0f}).reshape({1, 3});
  const RoutedUnits routed =
      route_under_autograd(compiled(spec), logits, {.selection_bias = {}, .selection_logits = noisy});
  EXPECT_EQ(routed.plan.expert, std::vector<std::int32_t>{2});
  const float clean = at::softmax(logits.detach(), 1)[0][2].item<float>();
  EXPECT_NEAR(routed.weights.item<float>(), clean, 1e-6f);
  EXPECT_NEAR(routed.plan.weight[0], clean, 1e-6f);
  routed.weights.sum().backward();
  EXPECT_NEAR(logits.grad().data_ptr<float>()[2], clean * (1 - clean), 1e-6f);
}

TEST(RouteUnderAutograd, ScaleAndSoftCapHaveTheirSlopes) {
  RouterSpec spec{.experts = 3, .logit_scale = 2.0f, .logit_softcap = 5.0f, .score = Score::kLogit, .select = TopK{3}};
  const at::Tensor logits = at::tensor({0.5, -1.0, 3.0}, at::kDouble).reshape({1, 3}).set_requires_grad(true);
  const RoutedUnits routed = route_under_autograd(compiled(spec), logits);
  routed.weights.sum().backward();
  for (int e = 0; e < 3; ++e) {
    const double x = logits.detach().data_ptr<double>()[e], t = std::tanh(2 * x / 5);
    EXPECT_NEAR(routed.logits.detach().data_ptr<double>()[e], 5 * t, 1e-12);
    EXPECT_NEAR(logits.grad().data_ptr<double>()[e], 2 * (1 - t * t), 1e-12);
  }
}

TEST(RouteUnderAutograd, LogitsOfOneDeviationHaveItsSlopes) {
  const RouterSpec spec{.experts = 4, .logit_deviation = 0.5f, .score = Score::kLogit, .select = TopK{4}};
  const std::vector<double> values = {0.5, -1.0, 3.0, -std::numeric_limits<double>::infinity()},
                            upstream = {1, -2, 0.5};
  const auto scaled = [&](const std::vector<double>& x) {  // 0.5 over the deviation of the three that are there
    const double mean = (x[0] + x[1] + x[2]) / 3;
    double squares = 0;
    for (int e = 0; e < 3; ++e) squares += (x[e] - mean) * (x[e] - mean);
    double sum = 0;
    for (int e = 0; e < 3; ++e) sum += upstream[e] * x[e] * 0.5 / std::sqrt(squares / 2);
    return sum;
  };
  const at::Tensor logits = at::tensor(values, at::kDouble).reshape({1, 4}).set_requires_grad(true);
  const RoutedUnits routed = route_under_autograd(compiled(spec), logits);
  const at::Tensor loss = (routed.logits.narrow(1, 0, 3) * at::tensor(upstream, at::kDouble)).sum();
  EXPECT_NEAR(loss.item<double>(), scaled(values), 1e-12);
  loss.backward();
  for (int e = 0; e < 3; ++e) {
    std::vector<double> above = values, below = values;
    above[e] += 1e-6, below[e] -= 1e-6;
    EXPECT_NEAR(logits.grad().data_ptr<double>()[e], (scaled(above) - scaled(below)) / 2e-6, 1e-8);
  }
  EXPECT_EQ(logits.grad().data_ptr<double>()[3], 0.0);
  EXPECT_EQ(routed.plan.slots(), 3);
}

TEST(RouteUnderAutograd, ABiasSelectsAndGetsNoGradient) {
  const RouterSpec spec{.experts = 3, .score = Score::kSigmoid, .selection_bias = true, .select = TopK{1}};
  const at::Tensor logits = at::tensor({1.0f, 0.0f, -1.0f}).reshape({1, 3}).set_requires_grad(true);
  const at::Tensor bias = at::tensor({0.0f, 0.0f, 2.0f}).set_requires_grad(true);
  const RoutedUnits routed = route_under_autograd(compiled(spec), logits, bias);
  EXPECT_EQ(routed.plan.expert, std::vector<std::int32_t>{2});
  EXPECT_NEAR(routed.weights.item<float>(), 1 / (1 + std::exp(1.0f)), 1e-6f);
  routed.weights.sum().backward();
  EXPECT_FALSE(bias.grad().defined());
  EXPECT_GT(logits.grad().data_ptr<float>()[2], 0.1f);
}

TEST(RouteUnderAutograd, ZeroUnitsAreLegal) {
  for (const Weigh weigh : {Weigh::kRaw, Weigh::kRenormalised, Weigh::kSoftmaxOfAll, Weigh::kConstant}) {
    const RouterSpec spec{.experts = 4, .select = TopK{2}, .weigh = weigh};
    const RoutedUnits routed = route_under_autograd(compiled(spec), at::zeros({0, 4}).set_requires_grad(true));
    EXPECT_EQ(routed.plan.units(), 0);
    EXPECT_EQ(routed.weights.numel(), 0);
  }
}

TEST(RouteUnderAutograd, RefusesLogitsOfOtherExperts) {
  EXPECT_THROW(route_under_autograd(compiled({.experts = 4}), at::zeros({2, 5})), c10::Error);
  EXPECT_THROW(route_under_autograd(compiled({.experts = 4, .selection_bias = true}), at::zeros({2, 4})), c10::Error);
}

}  // namespace
}  // namespace junto
