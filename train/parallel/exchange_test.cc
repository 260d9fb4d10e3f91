#include "train/parallel/exchange.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <mutex>

#include "base/random.h"
#include "train/nn/losses.h"
#include "train/nn/route.h"
#include "train/parallel/test_rank_threads.h"
#include "train/parallel/total_of_ranks.h"

namespace junto {
namespace {

/// What rank `rank` holds of `count` values.
std::vector<float> values_of(int rank, std::size_t count) {
  Random random(100 + static_cast<std::uint64_t>(rank));
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(random.uniform() - 0.5);
  return values;
}

// To the bit: nothing may depend on which message comes first.
TEST(Exchange, SumsAreInTheOrderOfRanksAndTheSameOnAll) {
  for (const int ranks : {1, 2, 3, 5}) {
    for (const std::size_t count : {0, 1, 2, 7, 1000}) {
      std::vector<float> expected = values_of(0, count);
      for (int rank = 1; rank < ranks; ++rank) {
        const std::vector<float> more = values_of(rank, count);
        for (std::size_t i = 0; i < count; ++i) expected[i] += more[i];
      }
      RankThreads::run(ranks, [&](Exchange& exchange) {
        std::vector<float> values = values_of(exchange.rank(), count);
        sum_over_ranks(exchange, std::span<float>(values));
        EXPECT_EQ(values, expected) << ranks << " ranks, " << count << " values";
      });
    }
  }
}

TEST(Exchange, GroupsSumApartFromOneAnother) {
  const std::vector<std::vector<int>> groups = {{0, 2}, {1, 3, 4}};
  RankThreads::run(5, [&](Exchange& exchange) {
    const std::vector<int>& group = groups[exchange.rank() == 0 || exchange.rank() == 2 ? 0 : 1];
    std::vector<double> values = {static_cast<double>(exchange.rank()), 1.0};
    if (group.size() == 3) values.push_back(10.0);  // groups need not hold as many values
    sum_over_ranks(exchange, std::span<double>(values), group);
    EXPECT_EQ(values, group.size() == 2 ? std::vector<double>({2, 2}) : std::vector<double>({8, 3, 30}));
  });
}

TEST(Exchange, OneRankSpeaksForAll) {
  RankThreads::run(3, [&](Exchange& exchange) {
    EXPECT_TRUE(any_rank(exchange, exchange.rank() == 1));
    EXPECT_FALSE(any_rank(exchange, false));
  });
}

/// Random scores whose rows add up to 1, and the two best experts of each unit, of some the best alone.
struct Units {
  at::Tensor logits;
  RoutePlan plan;
};
Units random_units(std::int64_t first, std::int64_t count, int experts) {
  Units units{.logits = at::empty({count, experts}, at::kDouble), .plan = {}};
  for (std::int64_t u = 0; u < count; ++u) {
    Random random(7 + static_cast<std::uint64_t>(first + u));
    for (int e = 0; e < experts; ++e) units.logits[u][e] = 3.0 * random.uniform() + 0.5 * (e == 0);
    const at::Tensor best = std::get<1>(at::topk(units.logits[u], (first + u) % 3 == 0 ? 1 : 2));
    for (std::int64_t k = 0; k < best.numel(); ++k) {
      units.plan.expert.push_back(static_cast<std::int32_t>(best[k].item<std::int64_t>()));
      units.plan.weight.push_back(1.0f);
    }
    units.plan.offset.push_back(static_cast<std::int32_t>(units.plan.expert.size()));
  }
  units.logits.set_requires_grad(true);
  return units;
}

// Losses that are not the mean of their parts': value and gradient are those of one process with all units.
TEST(LossesOverRanks, AreThoseOfAllUnits) {
  constexpr int kExperts = 5, kUnits = 12, kRanks = 3;
  const at::Tensor weights = at::tensor({1.0, 2.0, 0.5, 1.0, 3.0}, at::kDouble);
  const auto losses = [&](const Units& units, Exchange* ranks) {
    const at::Tensor scores = at::softmax(units.logits, 1), deviation = at::ones_like(scores) * 0.7;
    return std::vector<at::Tensor>{balance_loss(scores, units.plan, LoadShare::kOfUnits, {}, {}, ranks),
                                   balance_loss(scores, units.plan, LoadShare::kOfSlots, {}, weights, ranks),
                                   single_expert_balance_loss(scores, units.plan, {}, ranks),
                                   importance_loss(scores, {}, ranks),
                                   load_loss(units.logits * 0.9, units.logits.detach(), deviation, 2, {}, ranks)};
  };
  for (std::size_t which = 0; which < 5; ++which) {
    Units whole = random_units(0, kUnits, kExperts);
    const at::Tensor expected = losses(whole, nullptr)[which];
    expected.backward();
    EXPECT_GT(whole.logits.grad().abs().max().item<double>(), 1e-4) << which;
    RankThreads::run(kRanks, [&](Exchange& exchange) {
      constexpr std::int64_t kOwn = kUnits / kRanks;
      const Units own = random_units(exchange.rank() * kOwn, kOwn, kExperts);
      const at::Tensor loss = losses(own, &exchange)[which];
      loss.backward();
      EXPECT_NEAR(loss.item<double>(), expected.item<double>(), 1e-12) << which;
      // The trainer takes the mean of the ranks' gradients; a unit has one on its own rank alone.
      const at::Tensor gradient = own.logits.grad() / kRanks;
      EXPECT_TRUE(at::allclose(gradient, whole.logits.grad().narrow(0, exchange.rank() * kOwn, kOwn), 1e-9, 1e-12))
          << which;
    });
  }
}

}  // namespace
}  // namespace junto
