// Loss-free balancing on fixed scores is a subgradient method on the dual of balanced assignment: the biases are prices
// (Han and Zhong, arXiv 2512.03915). Held against the exact optimum, which scripts/record-assignment.py recorded.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "base/random.h"
#include "moe/route.h"
#include "train/nn/losses.h"

namespace junto {
namespace {

constexpr int kTokens = 1024, kExperts = 16, kChosen = 2;
constexpr double kMeanLoad = 1.0 * kTokens * kChosen / kExperts;

/// [T, E], as the script makes them.
std::vector<float> scores_of(std::uint64_t seed) {
  Random random(seed);
  std::vector<float> scores(kTokens * kExperts);
  for (std::size_t i = 0; i < scores.size(); ++i) {
    double z = -6.0;
    for (int j = 0; j < 12; ++j) z += random.uniform();
    const double logit = 0.7 * z - 0.8 + 1.6 * static_cast<double>(i % kExperts) / (kExperts - 1);
    scores[i] = static_cast<float>(1.0 / (1.0 + std::exp(-logit)));
  }
  return scores;
}

struct Routed {
  RoutePlan plan;
  at::Tensor load;      // [E]
  double primal = 0.0;  // sum of the chosen scores
  double dual = 0.0;    // of the bias: sum over tokens of the k largest biased scores - mean load * sum of biases
  double max_violation = 0.0;
};

Routed route_with(const std::vector<float>& scores, const at::Tensor& bias) {
  RouterSpec spec{.experts = kExperts, .score = Score::kLogit, .selection_bias = true, .select = TopK{kChosen}};
  std::vector<float> logits = scores;
  RouteScratch scratch;
  Routed out;
  route(spec, {}, MatrixView<float>{logits.data(), kTokens, kExperts}, {bias.data_ptr<float>(), kExperts}, scratch,
        out.plan);
  out.load = at::zeros({kExperts}, at::kFloat);
  for (std::size_t slot = 0; slot < out.plan.expert.size(); ++slot) {
    const int expert = out.plan.expert[slot];
    out.load.data_ptr<float>()[expert] += 1.0f;
    out.primal += out.plan.weight[slot];
    out.dual += out.plan.weight[slot] + bias.data_ptr<float>()[expert];
  }
  out.dual -= kMeanLoad * bias.sum().item<double>();
  out.max_violation = out.load.max().item<double>() / kMeanLoad - 1.0;
  return out;
}

struct Balanced {
  Routed last;
  double band = 0.0;  // the largest MaxVio of the last fifth of the steps
  double least_dual = 1e300;
};

template <class Rate>
Balanced balance(const std::vector<float>& scores, int steps, BiasUpdate kind, Rate rate) {
  Balanced out;
  at::Tensor bias = at::zeros({kExperts}, at::kFloat);
  for (int n = 1; n <= steps; ++n) {
    out.last = route_with(scores, bias);
    out.least_dual = std::min(out.least_dual, out.last.dual);
    if (5 * n > 4 * steps) out.band = std::max(out.band, out.last.max_violation);
    update_selection_bias(bias, out.last.load, rate(n), kind);
  }
  return out;
}

TEST(BiasBalance, StepsOfOneOverNReachTheExactOptimum) {
  const std::string path = JUNTO_SOURCE_DIR "/testdata/oracles/assignment.json";
  const Json recorded = parse_json(read_text_file(path, 1 << 16), path);
  ASSERT_EQ(recorded.at("cases").size(), 5u);
  for (const Json& one : recorded["cases"]) {
    const std::vector<float> scores = scores_of(one.at("seed"));
    ASSERT_NEAR(scores.front(), one.at("first_score").get<double>(), 1e-7);
    ASSERT_NEAR(scores.back(), one.at("last_score").get<double>(), 1e-7);
    const double optimum = one.at("optimum");
    const Balanced found = balance(scores, 1500, BiasUpdate::kProportional, [](int n) { return 1.0 / n; });
    EXPECT_LE(found.last.max_violation, 0.01) << one;
    EXPECT_NEAR(found.last.dual, optimum, 1e-5 * optimum) << one;
    EXPECT_GE(found.least_dual, optimum * (1.0 - 1e-6)) << "weak duality";
  }
}

TEST(BiasBalance, ConstantSignStepsEndInABandThatGrowsWithThem) {
  const std::vector<float> scores = scores_of(1);
  EXPECT_GT(route_with(scores, at::zeros({kExperts}, at::kFloat)).max_violation, 1.5);
  const auto band = [&](double rate) {
    return balance(scores, 1500, BiasUpdate::kSign, [rate](int) { return rate; }).band;
  };
  const double fine = band(0.001), coarse = band(0.01), coarser = band(0.03);
  EXPECT_GT(fine, 0.0);
  EXPECT_LT(fine, 0.1);
  EXPECT_GT(coarse, 2 * fine);
  EXPECT_GT(coarser, coarse);
  const Balanced decreasing = balance(scores, 1500, BiasUpdate::kSign, [](int n) { return 0.03 / std::sqrt(n); });
  EXPECT_LT(decreasing.band, coarse);
}

// Scores and steps are multiples of powers of two, so that sums are exact and the statement is one about every token.
TEST(BiasBalance, NoTokenLeavesAnUnderloadedExpertOrEntersAnOverloadedOne) {
  std::vector<float> scores = scores_of(2);
  for (float& score : scores) score = std::round(score * 0x1p20f) * 0x1p-20f;
  at::Tensor bias = at::zeros({kExperts}, at::kFloat);
  Routed before = route_with(scores, bias);
  int moved = 0;
  for (int n = 0; n < 200; ++n) {
    update_selection_bias(bias, before.load, 0x1p-7, BiasUpdate::kSign);
    const Routed after = route_with(scores, bias);
    for (int token = 0; token < kTokens; ++token) {
      const auto chosen = [token](const Routed& routed) {
        const auto begin = routed.plan.expert.begin() + kChosen * token;
        return std::vector<std::int32_t>(begin, begin + kChosen);
      };
      const auto old = chosen(before), now = chosen(after);
      for (int i = 0; i < kChosen; ++i) {
        const bool left = std::count(now.begin(), now.end(), old[i]) == 0;
        const bool entered = std::count(old.begin(), old.end(), now[i]) == 0;
        if (left) {
          EXPECT_GE(before.load[old[i]].item<double>(), kMeanLoad);
        }
        if (entered) {
          EXPECT_LE(before.load[now[i]].item<double>(), kMeanLoad);
        }
        moved += left;
      }
    }
    before = after;
  }
  EXPECT_GT(moved, 100);
}

TEST(BiasBalance, AConstantAddedToAllBiasesChangesNothing) {
  const std::vector<float> scores = scores_of(3);
  const at::Tensor bias = at::linspace(-0.5, 0.5, kExperts, at::kFloat);
  const Routed one = route_with(scores, bias), other = route_with(scores, bias + 0.25);
  EXPECT_TRUE(one.load.equal(other.load));
  EXPECT_NEAR(one.dual, other.dual, 1e-3);
}

}  // namespace
}  // namespace junto
