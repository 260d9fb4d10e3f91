#include "train/nn/losses.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <vector>

namespace junto {
namespace {

// What the references compute on: plain rows, in double.
using Rows = std::vector<std::vector<double>>;

struct Routing {
  Rows logits, scores;
  std::vector<double> counted;
  RoutePlan plan;
  std::size_t units() const { return logits.size(); }
  std::size_t experts() const { return logits[0].size(); }
};

Routing random_routing(std::size_t units, std::size_t experts, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  Routing routing;
  for (std::size_t u = 0; u < units; ++u) {
    std::vector<double> logits(experts), scores(experts);
    double sum = 0.0;
    for (double& logit : logits) logit = 2 * normal(random);
    for (std::size_t e = 0; e < experts; ++e) sum += scores[e] = std::exp(logits[e]);
    for (double& score : scores) score /= sum;
    routing.logits.push_back(logits);
    routing.scores.push_back(scores);
    routing.counted.push_back(random() % 3 != 0 ? 1.0 : 0.0);
    for (std::size_t e = 0; e < experts; ++e) {
      if (random() % 3 != 0) continue;
      routing.plan.expert.push_back(static_cast<std::int32_t>(e));
      routing.plan.weight.push_back(0.5f);
    }
    routing.plan.offset.push_back(static_cast<std::int32_t>(routing.plan.expert.size()));
  }
  return routing;
}

at::Tensor tensor(const Rows& rows) {
  std::vector<double> values;
  for (const auto& row : rows) values.insert(values.end(), row.begin(), row.end());
  return at::tensor(values, at::kDouble).reshape({static_cast<std::int64_t>(rows.size()), -1}).set_requires_grad(true);
}

/// `loss` has the value of `naive` and its differences as gradient, at `rows`.
void expect_loss(const Rows& rows, const std::function<at::Tensor(const at::Tensor&)>& loss,
                 const std::function<double(const Rows&)>& naive) {
  const at::Tensor input = tensor(rows);
  const at::Tensor value = loss(input);
  EXPECT_NEAR(value.item<double>(), naive(rows), 1e-10);
  value.backward();
  for (std::size_t u = 0; u < rows.size(); ++u) {
    for (std::size_t e = 0; e < rows[u].size(); ++e) {
      Rows above = rows, below = rows;
      above[u][e] += 1e-6;
      below[u][e] -= 1e-6;
      const double slope = input.grad().data_ptr<double>()[u * rows[u].size() + e];
      ASSERT_NEAR(slope, (naive(above) - naive(below)) / 2e-6, 1e-7) << u << " " << e;
    }
  }
}

double naive_balance(const Rows& scores, const Routing& routing, LoadShare share, const std::vector<double>& counted,
                     const std::vector<double>& weights) {
  double units = 0.0, all_slots = 0.0, loss = 0.0;
  std::vector<double> slots(routing.experts(), 0.0), mass(routing.experts(), 0.0);
  for (std::size_t u = 0; u < scores.size(); ++u) {
    if (counted[u] == 0.0) continue;
    units += 1.0;
    for (const std::int32_t e : routing.plan.experts_of(static_cast<std::int64_t>(u))) {
      slots[e] += 1.0;
      all_slots += 1.0;
    }
    for (std::size_t e = 0; e < mass.size(); ++e) mass[e] += scores[u][e];
  }
  if (units == 0.0) return 0.0;
  for (std::size_t e = 0; e < mass.size(); ++e) {
    const double f = share == LoadShare::kOfUnits ? slots[e] / units : slots[e] / std::max(all_slots, 1.0);
    loss += weights[e] * f * mass[e] / units;
  }
  return loss * static_cast<double>(mass.size());
}

TEST(BalanceLoss, IsTheFormulaWithMasksVariableKAndWeights) {
  const Routing routing = random_routing(13, 5, 1);
  const std::vector<double> all(13, 1.0), ones(5, 1.0), weights = {1, 2, 0, 0.5, 3};
  for (const LoadShare share : {LoadShare::kOfUnits, LoadShare::kOfSlots}) {
    expect_loss(
        routing.scores, [&](const at::Tensor& scores) { return balance_loss(scores, routing.plan, share); },
        [&](const Rows& scores) { return naive_balance(scores, routing, share, all, ones); });
    expect_loss(
        routing.scores,
        [&](const at::Tensor& scores) {
          return balance_loss(scores, routing.plan, share, at::tensor(routing.counted), at::tensor(weights));
        },
        [&](const Rows& scores) { return naive_balance(scores, routing, share, routing.counted, weights); });
  }
}

TEST(BalanceLoss, IsOneWhereSwitchIsEven) {
  Routing routing;
  for (int u = 0; u < 8; ++u) {
    routing.scores.push_back({0.25, 0.25, 0.25, 0.25});
    routing.plan.expert.push_back(u % 4);
    routing.plan.offset.push_back(u + 1);
  }
  EXPECT_NEAR(balance_loss(tensor(routing.scores), routing.plan).item<double>(), 1.0, 1e-12);
}

TEST(SingleExpertBalanceLoss, CountsUnitsOfOneExpertAlone) {
  Routing routing = random_routing(13, 4, 9);
  const at::Tensor counted = at::tensor(routing.counted);
  expect_loss(
      routing.scores,
      [&](const at::Tensor& scores) { return single_expert_balance_loss(scores, routing.plan, counted); },
      [&](const Rows& scores) {
        double single = 0.0, units = 0.0, loss = 0.0;
        std::vector<double> f(4, 0.0), p(4, 0.0);
        for (std::size_t u = 0; u < scores.size(); ++u) {
          if (routing.counted[u] == 0.0) continue;
          units += 1.0;
          for (std::size_t e = 0; e < 4; ++e) p[e] += scores[u][e];
          const auto experts = routing.plan.experts_of(static_cast<std::int64_t>(u));
          if (experts.size() == 1) single += 1.0, f[experts[0]] += 1.0;
        }
        EXPECT_GT(single, 1.0);
        for (std::size_t e = 0; e < 4; ++e) loss += 4.0 * f[e] / single * p[e] / units;
        return loss;
      });
  RoutePlan pairs;  // no unit of one expert: no loss, no 0 / 0
  pairs.offset = {0, 2};
  pairs.expert = {0, 1};
  pairs.weight = {1, 1};
  EXPECT_EQ(single_expert_balance_loss(tensor({{0.5, 0.5}}), pairs).item<double>(), 0.0);
}

TEST(WeightBalanceLoss, BothFactorsHaveGradients) {
  const Routing routing = random_routing(9, 5, 10);
  const auto naive = [&](const Rows& scores, const std::vector<double>& weights) {
    double loss = 0.0, units = 0.0;
    for (const double counted : routing.counted) units += counted;
    for (std::size_t e = 0; e < 5; ++e) {
      double weight = 0.0, mass = 0.0;
      for (std::size_t u = 0; u < scores.size(); ++u) {
        mass += routing.counted[u] * scores[u][e] / units;
        for (std::int32_t s = routing.plan.offset[u]; s < routing.plan.offset[u + 1]; ++s) {
          if (routing.plan.expert[s] == static_cast<std::int32_t>(e)) weight += routing.counted[u] * weights[s] / units;
        }
      }
      loss += 5.0 * weight * mass;
    }
    return loss;
  };
  std::vector<double> weights;
  for (std::int64_t s = 0; s < routing.plan.slots(); ++s) weights.push_back(0.1 * static_cast<double>(s % 7) - 0.2);
  const at::Tensor counted = at::tensor(routing.counted);
  expect_loss(
      routing.scores,
      [&](const at::Tensor& scores) { return weight_balance_loss(scores, at::tensor(weights), routing.plan, counted); },
      [&](const Rows& scores) { return naive(scores, weights); });
  const at::Tensor leaf = at::tensor(weights).set_requires_grad(true);
  weight_balance_loss(tensor(routing.scores).detach(), leaf, routing.plan, counted).backward();
  for (std::size_t s = 0; s < weights.size(); ++s) {
    std::vector<double> above = weights, below = weights;
    above[s] += 1e-6, below[s] -= 1e-6;
    const double slope = (naive(routing.scores, above) - naive(routing.scores, below)) / 2e-6;
    EXPECT_NEAR(leaf.grad().data_ptr<double>()[s], slope, 1e-8);
  }
}

TEST(OrthogonalityLoss, IsTheMeanSquaredCosineOfPairs) {
  const Rows experts = random_routing(4, 6, 11).logits;
  expect_loss(
      experts,
      [](const at::Tensor& rows) {
        return orthogonality_loss(rows.reshape({4, 2, 3}));
      },
      [](const Rows& rows) {
        double loss = 0.0;
        for (std::size_t a = 0; a < 4; ++a) {
          for (std::size_t b = 0; b < a; ++b) {
            double dot = 0.0, of_a = 0.0, of_b = 0.0;
            for (std::size_t i = 0; i < 6; ++i) {
              dot += rows[a][i] * rows[b][i], of_a += rows[a][i] * rows[a][i], of_b += rows[b][i] * rows[b][i];
            }
            loss += dot * dot / (of_a * of_b) / 6.0;
          }
        }
        return loss;
      });
  EXPECT_EQ(orthogonality_loss(at::eye(3)).item<float>(), 0.0f);
}

TEST(SequenceBalanceLoss, IsTheMeanOverSequences) {
  const Routing routing = random_routing(12, 4, 2);
  std::vector<double> counted = routing.counted;
  for (std::size_t u = 8; u < 12; ++u) counted[u] = 0.0;  // the third sequence is all padding
  const at::Tensor sequence = at::arange(12, at::kLong).div(4, "floor");
  for (const LoadShare share : {LoadShare::kOfUnits, LoadShare::kOfSlots}) {
    expect_loss(
        routing.scores,
        [&](const at::Tensor& scores) {
          return sequence_balance_loss(scores, routing.plan, sequence, 3, share, at::tensor(counted));
        },
        [&](const Rows& scores) {
          double sum = 0.0;
          for (std::size_t s = 0; s < 2; ++s) {
            std::vector<double> own(12, 0.0);
            for (std::size_t u = 4 * s; u < 4 * s + 4; ++u) own[u] = counted[u];
            sum += naive_balance(scores, routing, share, own, std::vector<double>(4, 1.0));
          }
          return sum / 2;
        });
  }
}

TEST(ZLoss, IsTheMeanSquareOfLogSumExp) {
  const Routing routing = random_routing(9, 6, 3);
  const double units = static_cast<double>(std::count(routing.counted.begin(), routing.counted.end(), 1.0));
  expect_loss(
      routing.logits, [&](const at::Tensor& logits) { return z_loss(logits, at::tensor(routing.counted)); },
      [&](const Rows& logits) {
        double loss = 0.0;
        for (std::size_t u = 0; u < logits.size(); ++u) {
          double sum = 0.0;
          for (const double logit : logits[u]) sum += std::exp(logit);
          loss += routing.counted[u] * std::log(sum) * std::log(sum);
        }
        return loss / units;
      });
}

TEST(ZLoss, UnitsWithoutCandidatesDoNotCount) {
  constexpr double kNone = -std::numeric_limits<double>::infinity();
  const at::Tensor logits = tensor({{1.0, kNone}, {kNone, kNone}});
  const at::Tensor loss = z_loss(logits);
  EXPECT_NEAR(loss.item<double>(), 1.0, 1e-12);
  loss.backward();
  EXPECT_FALSE(logits.grad().isnan().any().item<bool>());
}

TEST(RouterEntropy, IsEachFormula) {
  const Routing routing = random_routing(7, 5, 4);
  const double units = static_cast<double>(std::count(routing.counted.begin(), routing.counted.end(), 1.0));
  for (const Entropy kind : {Entropy::kShannon, Entropy::kTsallis, Entropy::kRenyi}) {
    for (const double order : {0.5, 1.0, 2.0, 3.0}) {
      expect_loss(
          routing.scores,
          [&](const at::Tensor& p) { return router_entropy(p, kind, order, at::tensor(routing.counted)); },
          [&](const Rows& rows) {
            double loss = 0.0;
            for (std::size_t u = 0; u < rows.size(); ++u) {
              double shannon = 0.0, powers = 0.0;
              for (const double p : rows[u]) shannon -= p * std::log(p), powers += std::pow(p, order);
              double value = shannon;
              if (kind == Entropy::kTsallis && order != 1.0) value = (1.0 - powers) / (order - 1.0);
              if (kind == Entropy::kRenyi && order != 1.0) value = std::log(powers) / (1.0 - order);
              loss += routing.counted[u] * value;
            }
            return loss / units;
          });
    }
  }
}

TEST(RelativeRouterEntropy, IsOneWhereTheRouterIsEven) {
  const Routing routing = random_routing(7, 5, 12);
  for (const Entropy kind : {Entropy::kShannon, Entropy::kTsallis, Entropy::kRenyi}) {
    for (const double order : {1.0, 1.1, 2.0}) {
      const at::Tensor even = at::full({3, 6}, 1.0 / 6.0, at::kDouble);
      EXPECT_NEAR(relative_router_entropy(even, kind, order, 0.0).item<double>(), 1.0, 1e-12);
      expect_loss(
          routing.scores, [&](const at::Tensor& p) { return relative_router_entropy(p, kind, order, 1e-5); },
          [&](const Rows& rows) {
            double loss = 0.0;
            for (const auto& row : rows) {
              double shannon = 0.0, powers = 0.0;
              for (const double p : row)
                shannon -= (p + 1e-5) * std::log(p + 1e-5), powers += std::pow(p + 1e-5, order);
              double share = shannon / std::log(5.0);
              if (kind == Entropy::kTsallis && order != 1.0)
                share = (1.0 - powers) / (1.0 - std::pow(5.0, 1.0 - order));
              if (kind == Entropy::kRenyi && order != 1.0) share = std::log(powers) / (1.0 - order) / std::log(5.0);
              loss += share / static_cast<double>(rows.size());
            }
            return loss;
          });
    }
  }
}

TEST(RouterEntropy, ACertainRouterHasNoneAndNoNan) {
  for (const Entropy kind : {Entropy::kShannon, Entropy::kTsallis, Entropy::kRenyi}) {
    const at::Tensor p = tensor({{1.0, 0.0, 0.0}});
    const at::Tensor entropy = router_entropy(p, kind, 0.5);
    EXPECT_NEAR(entropy.item<double>(), 0.0, 1e-12);
    entropy.backward();
    EXPECT_FALSE(p.grad().isnan().any().item<bool>());
  }
}

double squared_variation(const std::vector<double>& values) {
  double mean = 0.0, squares = 0.0;
  for (const double value : values) mean += value / static_cast<double>(values.size());
  for (const double value : values) squares += (value - mean) * (value - mean) / static_cast<double>(values.size());
  return squares / (mean * mean);
}

TEST(ImportanceLoss, IsTheSquaredCoefficientOfVariation) {
  const Routing routing = random_routing(11, 6, 5);
  expect_loss(
      routing.scores, [&](const at::Tensor& scores) { return importance_loss(scores, at::tensor(routing.counted)); },
      [&](const Rows& scores) {
        std::vector<double> mass(6, 0.0);
        for (std::size_t u = 0; u < scores.size(); ++u) {
          for (std::size_t e = 0; e < 6; ++e) mass[e] += routing.counted[u] * scores[u][e];
        }
        return squared_variation(mass);
      });
}

TEST(LoadLoss, IsTheChanceToBeAmongTheBest) {
  const Routing routing = random_routing(9, 5, 6);
  const Rows noisy = random_routing(9, 5, 7).logits;
  constexpr double kDeviation = 0.7;
  for (const int k : {1, 2, 4}) {
    expect_loss(
        routing.logits,
        [&](const at::Tensor& clean) {
          return load_loss(clean, tensor(noisy).detach(), at::full_like(clean.detach(), kDeviation), k);
        },
        [&](const Rows& clean) {
          std::vector<double> load(5, 0.0);
          for (std::size_t u = 0; u < clean.size(); ++u) {
            for (std::size_t e = 0; e < 5; ++e) {
              std::vector<double> others;
              for (std::size_t other = 0; other < 5; ++other) {
                if (other != e) others.push_back(noisy[u][other]);
              }
              std::sort(others.rbegin(), others.rend());
              load[e] += 0.5 * std::erfc(-(clean[u][e] - others[k - 1]) / kDeviation / std::sqrt(2.0));
            }
          }
          return squared_variation(load);
        });
  }
}

TEST(SelectionBias, RisesForTheIdleAndFallsForTheBusy) {
  at::Tensor bias = at::tensor({0.5f, 0.0f, -0.5f, 0.0f});
  update_selection_bias(bias, at::tensor({2.0f, 6.0f, 4.0f, 4.0f}), 0.125);
  EXPECT_TRUE(at::equal(bias, at::tensor({0.625f, -0.125f, -0.5f, 0.0f})));
  update_selection_bias(bias, at::tensor({2.0f, 6.0f, 4.0f, 4.0f}), 0.25, BiasUpdate::kProportional);
  EXPECT_TRUE(at::equal(bias, at::tensor({0.75f, -0.25f, -0.5f, 0.0f})));
  update_selection_bias(bias, at::zeros({4}), 1.0);
  EXPECT_TRUE(at::equal(bias, at::tensor({0.75f, -0.25f, -0.5f, 0.0f})));
}

// Skewed logits that stay as they are: the bias alone must even out the load.
TEST(SelectionBias, EvensOutTheLoad) {
  std::mt19937 random(8);
  std::normal_distribution<double> normal;
  at::Tensor bias = at::zeros({4});
  const auto load = [&] {
    std::vector<float> rows(4, 0.0f);
    for (int u = 0; u < 400; ++u) {
      double best = -1e9;
      int chosen = 0;
      for (int e = 0; e < 4; ++e) {
        const double value = normal(random) + 0.5 * e + bias.data_ptr<float>()[e];
        if (value > best) best = value, chosen = e;
      }
      rows[chosen] += 1.0f;
    }
    return at::tensor(rows);
  };
  EXPECT_GT(load().max().item<float>(), 180.0f);
  for (int step = 0; step < 300; ++step) update_selection_bias(bias, load(), 0.01);
  EXPECT_LT(load().max().item<float>(), 140.0f);
}

}  // namespace
}  // namespace junto
