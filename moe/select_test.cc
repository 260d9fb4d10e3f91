#include "moe/select.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

namespace junto {
namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();

/// Softmax-like scores, unbiased.
Chosen choose(const SelectRule& rule, const std::vector<float>& scores, Score score = Score::kSoftmax,
              std::int64_t key = 0) {
  std::vector<float> biased;
  for (const float value : scores) biased.push_back(value > kNone ? value : kNone);
  SelectScratch scratch;
  Chosen chosen = {99};  // is replaced
  select(rule, UnitScores{.logits = biased, .scores = scores, .biased_scores = biased, .score = score, .key = key},
         scratch, chosen);
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

// What Dynamic MoE released (`> p`) and what its paper writes (`>= p`) differ where a sum equals p.
TEST(SelectTopP, StrictNeedsMoreThanP) {
  EXPECT_EQ(choose(TopP{.p = 0.5f, .strict = true}, {0.25f, 0.5f, 0.25f}), (Chosen{1, 0}));
  EXPECT_EQ(choose(TopP{.p = 0.625f, .strict = true}, {0.25f, 0.5f, 0.25f}), (Chosen{1, 0}));
  EXPECT_EQ(choose(TopP{.p = 1.0f, .strict = true}, {0.25f, 0.5f, 0.25f}), (Chosen{1, 0, 2}));
  EXPECT_EQ(choose(TopP{.p = 0.75f, .inclusive = false, .strict = true}, {0.25f, 0.5f, 0.25f}), (Chosen{1, 0}));
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

// Li et al., arXiv 2310.07188, section 3: a second expert where the two best are within the threshold, inclusive.
TEST(SelectMargin, ASecondExpertWhereTheGateIsUnsure) {
  EXPECT_EQ(choose(Margin{0.125f}, {0.5f, 0.25f, 0.25f}), (Chosen{0}));
  EXPECT_EQ(choose(Margin{0.25f}, {0.5f, 0.25f, 0.25f}), (Chosen{0, 1}));
  EXPECT_EQ(choose(Margin{0.25f, 3}, {0.5f, 0.25f, 0.25f}), (Chosen{0, 1, 2}));
  EXPECT_EQ(choose(Margin{0.0f}, {0.25f, 0.25f, 0.5f}), (Chosen{2}));
  EXPECT_EQ(choose(Margin{0.0f}, {0.25f, 0.375f, 0.375f}), (Chosen{1, 2}));
  // 0.25 of 0.75 is a third of the pair.
  EXPECT_EQ(choose(Margin{0.3f, 2, true}, {0.5f, 0.25f, 0.25f}), (Chosen{0}));
  EXPECT_EQ(choose(Margin{0.34f, 2, true}, {0.5f, 0.25f, 0.25f}), (Chosen{0, 1}));
  EXPECT_EQ(choose(Margin{1.0f}, {kNone, 0.5f}), (Chosen{1}));
  EXPECT_EQ(choose(Margin{1.0f}, {kNone, kNone}), Chosen{});
}

TEST(SelectGiven, ATableAndAHash) {
  const Given table{.experts_of_key = {{2, 0}, {1}, {}}};
  const std::vector<float> scores = {0.25f, 0.25f, 0.5f, 0.0f};
  EXPECT_EQ(choose(table, scores, Score::kSoftmax, 0), (Chosen{2, 0}));
  EXPECT_EQ(choose(table, scores, Score::kSoftmax, 1), (Chosen{1}));
  EXPECT_EQ(choose(table, scores, Score::kSoftmax, 2), Chosen{});
  EXPECT_EQ(choose(table, scores, Score::kSoftmax, 3), Chosen{});
  EXPECT_EQ(choose(table, scores, Score::kSoftmax, -1), Chosen{});
  EXPECT_EQ(choose(table, {kNone, 1.0f, 1.0f, 1.0f}, Score::kSoftmax, 0), (Chosen{2}));

  std::vector<int> load(8, 0);
  for (std::int64_t key = -1; key < 4000; ++key) {
    const std::vector<float> even(8, 0.125f);
    const Chosen two = choose(Given{.k = 2, .seed = 3}, even, Score::kSoftmax, key);
    ASSERT_EQ(two.size(), 2u);
    ASSERT_NE(two[0], two[1]);
    EXPECT_EQ(two, choose(Given{.k = 2, .seed = 3}, even, Score::kSoftmax, key));
    for (const std::int32_t e : two) ++load[e];
  }
  for (const int rows : load) EXPECT_NEAR(rows, 1000, 120);
  EXPECT_EQ(choose(Given{.k = 8}, std::vector<float>(8, 0.125f)).size(), 8u);
}

/// Sorting units for each expert, in double.
TEST(SelectExpertChoice, EachExpertTakesItsBestUnits) {
  std::mt19937 random(4);
  for (int round = 0; round < 300; ++round) {
    const int units = static_cast<int>(random() % 20), experts = 1 + static_cast<int>(random() % 9);
    const float factor = static_cast<float>(random() % 300) / 100.0f;
    Matrix<float> scores(units, experts);
    for (int u = 0; u < units; ++u) {
      for (float& score : scores.view().row(u)) {
        score = random() % 11 == 0 ? kNone : static_cast<float>(random() % 7) / 7.0f;
      }
    }
    std::vector<Chosen> chosen;
    select_units(ExpertChoice{factor}, scores.view(), chosen);
    ASSERT_EQ(chosen.size(), static_cast<std::size_t>(units));
    const int most =
        units == 0 ? 0 : std::max(1, static_cast<int>(std::floor(factor * units / static_cast<double>(experts))));
    for (int e = 0; e < experts; ++e) {
      std::vector<std::pair<float, int>> best;  // (-score, unit)
      for (int u = 0; u < units; ++u) {
        if (scores.view().at(u, e) > kNone) best.emplace_back(-scores.view().at(u, e), u);
      }
      std::sort(best.begin(), best.end());
      for (std::size_t i = 0; i < best.size(); ++i) {
        const Chosen& of_unit = chosen[best[i].second];
        EXPECT_EQ(std::count(of_unit.begin(), of_unit.end(), e), static_cast<int>(i) < std::min(most, units));
      }
    }
  }
}

TEST(Select, MostIsBoundedByTheExperts) {
  EXPECT_EQ(max_chosen(TopK{9}, 4), 4);
  EXPECT_EQ(max_chosen(TopP{}, 4), 4);
  EXPECT_EQ(max_chosen(Threshold{0, 0, 2}, 4), 2);
  EXPECT_EQ(max_chosen(with_bound(GroupLimited{4, 2, 2}, 3), 8), 3);
  EXPECT_EQ(max_chosen(ExpertChoice{}, 4), 4);
  EXPECT_EQ(max_chosen(Given{.k = 3}, 8), 3);
  EXPECT_EQ(max_chosen(Given{.experts_of_key = {{0, 1}, {2}}}, 8), 2);
  EXPECT_EQ(max_chosen(with_bound(Given{.experts_of_key = {{0, 1}, {2}}}, 1), 8), 1);
  EXPECT_EQ(with_bound(ExpertChoice{}, 3), SelectRule(TopK{3}));
  EXPECT_EQ(std::get<TopP>(with_bound(TopP{0.5f, true, 4, 3}, 2)).min_k, 2);
  EXPECT_EQ(std::get<Threshold>(with_bound(Threshold{0, 3, 0}, 2)).min_k, 2);
}

}  // namespace
}  // namespace junto
