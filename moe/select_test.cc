#include "moe/select.h"

#include <gtest/gtest.h>

#include <limits>

namespace junto {
namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();

/// Softmax-like scores, unbiased.
Chosen choose(const SelectRule& rule, const std::vector<float>& scores, Score score = Score::kSoftmax) {
  std::vector<float> biased;
  for (const float value : scores) biased.push_back(value > kNone ? value : kNone);
  SelectScratch scratch;
  Chosen chosen = {99};  // is replaced
  select(rule, UnitScores{.logits = biased, .scores = scores, .biased_scores = biased, .score = score}, scratch,
         chosen);
  return chosen;
}

TEST(SelectTopK, TieTakesLowestId) {
  EXPECT_EQ(choose(TopK{2}, {0.1f, 0.3f, 0.3f, 0.3f}), (Chosen{1, 2}));
  EXPECT_EQ(choose(TopK{3}, {0.25f, 0.25f, 0.25f, 0.25f}), (Chosen{0, 1, 2}));
}

TEST(SelectTopK, NanAndNoCandidatesAreLeftOut) {
  EXPECT_EQ(choose(TopK{3}, {std::numeric_limits<float>::quiet_NaN(), 0.2f, kNone, 0.8f}), (Chosen{3, 1}));
}

TEST(SelectTopK, ManyAreSortedAsFew) {
  std::vector<float> scores(200);
  for (int e = 0; e < 200; ++e) scores[e] = static_cast<float>(e * 7 % 20);
  const Chosen many = choose(TopK{100}, scores), few = choose(TopK{32}, scores);
  EXPECT_EQ(many.size(), 100u);
  EXPECT_TRUE(std::equal(few.begin(), few.end(), many.begin()));
}

TEST(SelectTopP, TakesTheExpertThatReachesP) {
  EXPECT_EQ(choose(TopP{0.5f}, {0.25f, 0.5f, 0.25f}), (Chosen{1}));
  EXPECT_EQ(choose(TopP{0.6f}, {0.25f, 0.5f, 0.25f}), (Chosen{1, 0}));
  EXPECT_EQ(choose(TopP{0.6f, false}, {0.25f, 0.5f, 0.25f}), (Chosen{1}));
  EXPECT_EQ(choose(TopP{0.0f}, {0.25f, 0.5f, 0.25f}), (Chosen{1}));
  EXPECT_EQ(choose(TopP{1.0f, true, 2}, {0.25f, 0.5f, 0.25f}), (Chosen{1, 0}));
  EXPECT_EQ(choose(TopP{0.1f, false}, {0.25f, 0.5f, 0.25f}), (Chosen{1}));
}

TEST(SelectTopP, MassOfSigmoidsIsTheirShare) {
  EXPECT_EQ(choose(TopP{0.5f}, {0.5f, 0.25f, 0.25f}, Score::kSigmoid), (Chosen{0}));
  EXPECT_EQ(choose(TopP{0.5f}, {0.9f, 0.9f, 0.9f}, Score::kSigmoid), (Chosen{0, 1}));
}

TEST(SelectThreshold, BoundsBothWays) {
  const std::vector<float> scores = {0.1f, 0.4f, 0.2f, 0.3f};
  EXPECT_EQ(choose(Threshold{0.3f}, scores), (Chosen{1, 3}));
  EXPECT_EQ(choose(Threshold{0.3f, 3}, scores), (Chosen{1, 3, 2}));
  EXPECT_EQ(choose(Threshold{0.3f, 0, 1}, scores), (Chosen{1}));
  EXPECT_EQ(choose(Threshold{0.9f}, scores), Chosen{});
}

TEST(SelectGap, CutsAtTheLargestDrop) {
  EXPECT_EQ(choose(Gap{4}, {0.1f, 0.45f, 0.44f, 0.01f}), (Chosen{1, 2}));
  EXPECT_EQ(choose(Gap{1}, {0.1f, 0.45f, 0.44f, 0.01f}), (Chosen{1}));
  EXPECT_EQ(choose(Gap{3}, {0.25f, 0.25f, 0.25f, 0.25f}), (Chosen{0}));
  EXPECT_EQ(choose(Gap{3}, {0.5f}), (Chosen{0}));
}

TEST(SelectGroupLimited, TheBestGroupsStay) {
  const std::vector<float> scores = {0.75f, 0.0f, 0.5f, 0.5f, 0.5f, 0.25f};
  using enum GroupLimited::GroupScore;
  EXPECT_EQ(choose(GroupLimited{2, 3, 1, kMax}, scores), (Chosen{0, 1}));
  EXPECT_EQ(choose(GroupLimited{2, 3, 1, kTopTwoSum}, scores), (Chosen{2, 3}));
  EXPECT_EQ(choose(GroupLimited{3, 3, 2, kTopTwoSum}, scores), (Chosen{0, 2, 3}));
}

TEST(SelectGroupLimited, GroupsWithoutCandidatesAreNoChoice) {
  EXPECT_EQ(choose(GroupLimited{2, 2, 2}, {kNone, kNone, kNone, 0.1f}), (Chosen{3}));
}

TEST(Select, MostIsBoundedByTheExperts) {
  EXPECT_EQ(max_chosen(TopK{9}, 4), 4);
  EXPECT_EQ(max_chosen(TopP{}, 4), 4);
  EXPECT_EQ(max_chosen(Threshold{0, 0, 2}, 4), 2);
  EXPECT_EQ(max_chosen(with_bound(GroupLimited{4, 2, 2}, 3), 8), 3);
  EXPECT_EQ(std::get<Threshold>(with_bound(Threshold{0, 3, 0}, 2)).min_k, 2);
}

}  // namespace
}  // namespace junto
