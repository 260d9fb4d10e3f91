// Experts that share tokens stand together.
#include "compress/carve_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <numeric>

#include "base/random.h"

namespace junto {
namespace {

// Expert e is chosen together with those next to it on a hidden line, whose places are shuffled.
TEST(CarveOrder, FindsTheLineOnWhichExpertsKeepCompany) {
  constexpr int kExperts = 12, kTokens = 400;
  Random random(5);
  std::vector<int> expert_at(kExperts);
  std::iota(expert_at.begin(), expert_at.end(), 0);
  for (std::size_t i = kExperts; i-- > 1;) std::swap(expert_at[i], expert_at[random.next() % (i + 1)]);
  Matrix<float> chosen(kExperts, kTokens);
  std::fill(chosen.values.begin(), chosen.values.end(), 0.0f);
  for (int t = 0; t < kTokens; ++t) {
    const auto first = static_cast<int>(random.next() % (kExperts - 2));
    for (int i = first; i < first + 3; ++i) chosen.view().at(expert_at[i], t) = 1.0f;
  }
  std::vector<int> order = order_by_company(chosen.view());
  if (order.front() != expert_at.front()) std::ranges::reverse(order);
  EXPECT_EQ(order, expert_at);
}

TEST(CarveOrder, IsAPermutationWhateverTheChoices) {
  for (const int experts : {1, 2, 3, 7}) {
    Matrix<float> chosen(experts, 5);
    std::fill(chosen.values.begin(), chosen.values.end(), 0.0f);
    std::vector<int> order = order_by_company(chosen.view());
    std::ranges::sort(order);
    std::vector<int> all(static_cast<std::size_t>(experts));
    std::iota(all.begin(), all.end(), 0);
    EXPECT_EQ(order, all);
  }
}

}  // namespace
}  // namespace junto
