// Loss-free balancing on fixed scores, and on fresh ones at every step, is a subgradient method on the dual of balanced
// assignment: the biases are prices (Han and Zhong, arXiv 2512.03915). Held against the exact optimum, which
// scripts/record-assignment.py recorded.
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

// Part (B) of the evidence: tokens that were not seen before at every step.

/// Scores of step n of a stream, n from 1.
std::vector<float> stream_of(std::uint64_t seed, int n) {
  return scores_of(seed * 1000003 + static_cast<std::uint64_t>(n));
}

struct StepRule {
  BiasUpdate kind = BiasUpdate::kSign;
  double (*rate)(int n) = nullptr;
};

struct Online {
  double of_batch = 0.0;       // MaxVio of a batch, mean over the last half of the steps
  double of_all = 0.0;         // MaxVio of the counts of that half together
  std::vector<double> regret;  // sum over steps so far of D_n(b_n) - D_n(b*)
};

/// All rules on the same stream.
std::vector<Online> balance_online(const std::vector<StepRule>& rules, std::uint64_t seed, int steps,
                                   const at::Tensor& best) {
  std::vector<Online> out(rules.size());
  std::vector<at::Tensor> bias, counts;
  for (std::size_t r = 0; r < rules.size(); ++r) {
    bias.push_back(at::zeros({kExperts}, at::kFloat));
    counts.push_back(at::zeros({kExperts}, at::kDouble));
  }
  for (int n = 1; n <= steps; ++n) {
    const std::vector<float> scores = stream_of(seed, n);
    const double least = best.defined() ? route_with(scores, best).dual : 0.0;
    for (std::size_t r = 0; r < rules.size(); ++r) {
      const Routed routed = route_with(scores, bias[r]);
      out[r].regret.push_back((n > 1 ? out[r].regret.back() : 0.0) + routed.dual - least);
      if (2 * n > steps) {
        out[r].of_batch += routed.max_violation / (0.5 * steps);
        counts[r] += routed.load.to(at::kDouble);
      }
      update_selection_bias(bias[r], routed.load, rules[r].rate(n), rules[r].kind);
    }
  }
  for (std::size_t r = 0; r < rules.size(); ++r) {
    out[r].of_all = counts[r].max().item<double>() / counts[r].mean().item<double>() - 1.0;
  }
  return out;
}

/// Prices of the scores' distribution: steps of 1/n on another stream, the mean of the last half of them.
at::Tensor best_prices(int steps) {
  at::Tensor bias = at::zeros({kExperts}, at::kFloat), sum = at::zeros({kExperts}, at::kFloat);
  for (int n = 1; n <= steps; ++n) {
    update_selection_bias(bias, route_with(stream_of(77, n), bias).load, 1.0 / n, BiasUpdate::kProportional);
    if (2 * n > steps) sum += bias;
  }
  return sum / (0.5 * steps);
}

/// The share of the variance of `values`, from the tenth on, that a straight line over f(n) leaves.
template <class F>
double left_by_fit(const std::vector<double>& values, F f) {
  double count = 0.0, x = 0.0, y = 0.0, xx = 0.0, xy = 0.0, yy = 0.0;
  for (std::size_t i = 9; i < values.size(); ++i) {
    const double at = f(static_cast<double>(i + 1)), value = values[i], weight = 1.0 / static_cast<double>(i + 1);
    count += weight, x += weight * at, y += weight * value;
    xx += weight * at * at, xy += weight * at * value, yy += weight * value * value;
  }
  const double cov = xy / count - x * y / count / count, var_x = xx / count - x * x / count / count;
  return 1.0 - cov * cov / var_x / (yy / count - y * y / count / count);
}

TEST(BiasBalance, OnFreshTokensStepsOfOneOverNReachABatchsNoiseAndTheirRegretIsNearerToALogarithm) {
  constexpr int kSteps = 600;
  // Of the busiest of 16 experts, whose loads have the deviation of a binomial count: 1.77 deviations.
  const double floor = 1.77 * std::sqrt((1.0 - 1.0 * kChosen / kExperts) / kMeanLoad);
  const std::vector<StepRule> rules = {{BiasUpdate::kProportional, [](int n) { return 1.0 / n; }},
                                       {BiasUpdate::kSign, [](int) { return 0.01; }},
                                       {BiasUpdate::kSign, [](int n) { return 0.03 / std::sqrt(n); }}};
  const std::vector<Online> found = balance_online(rules, 5, kSteps, best_prices(kSteps));
  EXPECT_LT(found[0].of_batch, 1.2 * floor);
  EXPECT_GT(found[0].of_batch, 0.8 * floor);
  EXPECT_GT(found[1].of_batch, 1.2 * floor);
  EXPECT_LT(found[0].of_all, 0.03);
  EXPECT_GT(found[1].of_all, 2 * found[0].of_all);
  const auto logarithm = [](double n) { return std::log(n); };
  const auto root = [](double n) { return std::sqrt(n); };
  EXPECT_LT(left_by_fit(found[0].regret, logarithm), left_by_fit(found[0].regret, root));
  EXPECT_GT(left_by_fit(found[1].regret, logarithm), left_by_fit(found[1].regret, root));
  EXPECT_GT(left_by_fit(found[2].regret, logarithm), left_by_fit(found[2].regret, root));
  // The first steps of 1/n are long and cost more than all others; later ones cost least.
  const auto later = [](const Online& one) { return one.regret.back() - one.regret[kSteps / 2]; };
  EXPECT_LT(later(found[0]), later(found[1]));
  EXPECT_LT(later(found[0]), later(found[2]));
}

}  // namespace
}  // namespace junto
