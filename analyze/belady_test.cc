#include "analyze/belady.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <iterator>
#include <map>
#include <random>
#include <set>

namespace junto {
namespace {

using Cells = std::set<std::pair<int, int>>;  // (layer, expert)

/// The fewest misses that any choice of victims has: all choices are tried.
int fewest_misses(const std::vector<ExpertAsk>& asks, std::size_t at, const Cells& in, int slots,
                  std::map<std::pair<std::size_t, Cells>, int>& known) {
  if (at == asks.size()) return 0;
  const auto found = known.find({at, in});
  if (found != known.end()) return found->second;
  Cells asked;
  for (const std::int32_t e : asks[at].experts) asked.insert({asks[at].layer, e});
  Cells with = in;
  with.insert(asked.begin(), asked.end());
  const int misses = static_cast<int>(with.size() - in.size());
  std::vector<std::pair<int, int>> others;
  std::ranges::set_difference(with, asked, std::back_inserter(others));
  const int leaving = std::max(0, static_cast<int>(with.size()) - slots);
  int best = 1 << 20;
  for (unsigned choice = 0; choice < 1u << others.size(); ++choice) {
    if (std::popcount(choice) != leaving) continue;
    Cells left = with;
    for (std::size_t i = 0; i < others.size(); ++i) {
      if (choice >> i & 1) left.erase(others[i]);
    }
    best = std::min(best, fewest_misses(asks, at + 1, left, slots, known));
  }
  return known[{at, in}] = misses + best;
}

TEST(Belady, HasTheFewestMissesOfAllChoicesOfVictims) {
  std::mt19937 random(11);
  for (int round = 0; round < 60; ++round) {
    std::vector<ExpertAsk> asks;
    int asked = 0;
    for (int i = 0; i < 14; ++i) {
      std::set<std::int32_t> experts;
      for (int k = 1 + static_cast<int>(random() % 2); k > 0; --k) experts.insert(static_cast<int>(random() % 4));
      asks.push_back({i % 2, {experts.begin(), experts.end()}});
      asked += static_cast<int>(experts.size());
    }
    for (const int slots : {2, 3, 5, 8}) {
      std::map<std::pair<std::size_t, Cells>, int> known;
      const int misses = fewest_misses(asks, 0, {}, slots, known);
      EXPECT_NEAR(belady_hit_ratio(asks, 0, {4, 4}, slots), 1.0 - static_cast<double>(misses) / asked, 1e-12);
    }
  }
}

TEST(Belady, CountsFromTheFirstAskOnAndBeginsWithWhatCameBefore) {
  const std::vector<ExpertAsk> asks = {{0, {0, 1}}, {1, {2}}, {0, {0, 1}}, {1, {2, 3}}};
  EXPECT_DOUBLE_EQ(belady_hit_ratio(asks, 0, {4, 4}, 8), 3.0 / 7);
  EXPECT_DOUBLE_EQ(belady_hit_ratio(asks, 2, {4, 4}, 8), 3.0 / 4);
  EXPECT_EQ(belady_hit_ratio(asks, 4, {4, 4}, 8), 0);
  EXPECT_EQ(belady_hit_ratio({}, 0, {4, 4}, 8), 0);
}

TEST(Belady, FewerSlotsThanALayerAsksForIsLegal) {
  const std::vector<ExpertAsk> asks = {{0, {0, 1, 2}}, {0, {0, 1, 2}}};
  EXPECT_DOUBLE_EQ(belady_hit_ratio(asks, 0, {3}, 1), 1.0 / 6);  // the last one stayed
}

}  // namespace
}  // namespace junto
