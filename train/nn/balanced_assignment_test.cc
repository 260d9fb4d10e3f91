#include "train/nn/balanced_assignment.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "base/random.h"
#include "train/nn/route.h"

namespace junto {
namespace {

at::Tensor random_scores(std::int64_t units, std::int64_t experts, std::uint64_t seed, bool coarse) {
  Random random(seed);
  const at::Tensor scores = at::empty({units, experts}, at::kDouble);
  for (std::int64_t i = 0; i < scores.numel(); ++i) {
    const double value = 6.0 * random.uniform() - 3.0;
    scores.data_ptr<double>()[i] = coarse ? std::floor(value) : value;
  }
  return scores;
}

double sum_of(const at::Tensor& scores, const RoutePlan& plan) {
  double sum = 0.0;
  for (std::int64_t unit = 0; unit < plan.units(); ++unit)
    for (const std::int32_t expert : plan.experts_of(unit)) sum += scores[unit][expert].item<double>();
  return sum;
}

/// The largest sum, by trying all.
double best_sum(const double* scores, std::int64_t units, std::int64_t experts, std::vector<int>& room) {
  if (units == 0) return 0.0;
  double best = -std::numeric_limits<double>::infinity();
  for (std::int64_t e = 0; e < experts; ++e) {
    if (room[e] == 0) continue;
    --room[e];
    best = std::max(best, scores[e] + best_sum(scores + experts, units - 1, experts, room));
    ++room[e];
  }
  return best;
}

TEST(BalancedAssignment, HasTheLargestSumOfAll) {
  for (const auto& [units, experts] : {std::pair{1, 3}, {4, 4}, {6, 3}, {7, 3}, {8, 2}, {8, 4}}) {
    for (int seed = 0; seed < 12; ++seed) {
      const at::Tensor scores = random_scores(units, experts, seed, seed % 3 == 0);
      std::vector<int> room(static_cast<std::size_t>(experts), (units + experts - 1) / experts);
      const double expected = best_sum(scores.data_ptr<double>(), units, experts, room);
      EXPECT_NEAR(sum_of(scores, balanced_assignment(scores)), expected, 1e-9) << units << " " << experts;
    }
  }
}

TEST(BalancedAssignment, EveryExpertGetsAsManyAndNoTwoWouldRatherChange) {
  const at::Tensor scores = random_scores(256, 8, 3, false) + at::arange(8, at::kDouble);  // the last is everybody's
  const RoutePlan plan = balanced_assignment(scores);
  const at::Tensor load = load_of_experts(plan, 8);
  EXPECT_TRUE(load.equal(at::full({8}, 32.0f))) << load;
  const double* score = scores.data_ptr<double>();
  for (std::int64_t a = 0; a < 256; ++a) {
    for (std::int64_t b = 0; b < 256; ++b) {
      const std::int64_t of_a = plan.expert[a], of_b = plan.expert[b];
      EXPECT_GE(score[8 * a + of_a] + score[8 * b + of_b], score[8 * a + of_b] + score[8 * b + of_a] - 1e-9);
    }
  }
  EXPECT_EQ(plan.expert, balanced_assignment(scores).expert);
}

TEST(BalancedAssignment, EdgesAreLegal) {
  EXPECT_EQ(balanced_assignment(at::zeros({0, 4})).units(), 0);
  const RoutePlan ties = balanced_assignment(at::zeros({8, 4}));
  EXPECT_TRUE(load_of_experts(ties, 4).equal(at::full({4}, 2.0f)));
  at::Tensor scores = at::zeros({4, 2});
  scores[1].fill_(-std::numeric_limits<float>::infinity());
  scores[2][0] = std::numeric_limits<float>::quiet_NaN();
  const RoutePlan plan = balanced_assignment(scores);
  EXPECT_TRUE(plan.experts_of(1).empty());
  ASSERT_EQ(plan.experts_of(2).size(), 1u);
  EXPECT_EQ(plan.experts_of(2)[0], 1);
  EXPECT_EQ(plan.slots(), 3);
}

// Balanced while training, the best expert of each afterwards; weights are the scores, with their gradients.
TEST(BalancedAssignment, RoutesInTrainingWithScoresAsWeights) {
  RouterSpec spec{.experts = 4, .score = Score::kSigmoid, .select = TopK{1}};
  const CompiledRouter router = compile_router(spec, LayerPolicy());
  at::Tensor logits = random_scores(32, 4, 5, false) + 2.0 * at::arange(4, at::kDouble);
  logits.requires_grad_();
  const RoutedUnits balanced = route_under_autograd(router, logits, RouteOptions{.balanced = true});
  const RoutedUnits greedy = route_under_autograd(router, logits, RouteOptions{});
  EXPECT_TRUE(load_of_experts(balanced.plan, 4).equal(at::full({4}, 8.0f)));
  EXPECT_GT(load_of_experts(greedy.plan, 4).max().item<float>(), 16.0f);
  const at::Tensor expected = at::sigmoid(logits).gather(1, experts_of_slots(balanced.plan).unsqueeze(1)).squeeze(1);
  EXPECT_TRUE(at::allclose(balanced.weights, expected));
  balanced.weights.sum().backward();
  EXPECT_GT(logits.grad().abs().sum().item<double>(), 0.1);
}

}  // namespace
}  // namespace junto
