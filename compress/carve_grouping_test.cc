#include "compress/carve_grouping.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "base/random.h"

namespace junto {
namespace {

Matrix<float> random_gain(std::int64_t things, int groups, std::uint64_t seed) {
  Matrix<float> gain(things, groups);
  Random random(seed);
  for (float& value : gain.values) value = static_cast<float>(random.uniform());
  return gain;
}

float total(const Matrix<float>& gain, const std::vector<int>& group) {
  float sum = 0;
  for (std::int64_t i = 0; i < gain.rows; ++i) sum += gain.view().at(i, group[i]);
  return sum;
}

TEST(AssignBalanced, EveryGroupTakesWhatItHasRoomFor) {
  const Matrix<float> gain = random_gain(60, 4, 1);
  const std::vector<int> group = assign_balanced(gain.view(), {30, 10, 5, 15});
  const std::int64_t expected[] = {30, 10, 5, 15};
  for (int g = 0; g < 4; ++g) EXPECT_EQ(std::ranges::count(group, g), expected[g]);
}

TEST(AssignBalanced, ComesNearTheBestOfAllAssignments) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const Matrix<float> gain = random_gain(8, 4, seed);
    std::vector<int> tried = {0, 0, 1, 1, 2, 2, 3, 3};
    float best = 0;
    do best = std::max(best, total(gain, tried));
    while (std::ranges::next_permutation(tried).found);
    EXPECT_GE(total(gain, assign_balanced(gain.view(), {2, 2, 2, 2})), 0.93f * best) << "seed " << seed;
  }
}

TEST(AssignBalanced, EqualGainsAreLegal) {
  Matrix<float> gain(12, 3);
  std::fill(gain.values.begin(), gain.values.end(), 1.0f);
  EXPECT_EQ(std::ranges::count(assign_balanced(gain.view(), {4, 4, 4}), 2), 4);
}

}  // namespace
}  // namespace junto
