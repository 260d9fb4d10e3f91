#include "train/data/sequence_order.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "format/test_directory.h"

namespace junto {
namespace {

using Numbers = std::vector<std::int64_t>;

Numbers similar(std::int64_t routings, const std::vector<float>& several) {
  return order_by_similar_routing({std::ssize(several) / routings, routings, several});
}

TEST(SequenceOrder, BeginsWithTheFewestAndGoesOnByTheCosineToIt) {
  // Sequence 2 has the fewest; against (1, 0) the others have cosines 0, 1 / sqrt 2, -, 3 / sqrt 10.
  EXPECT_EQ(similar(2, {0, 5, 2, 2, 1, 0, 3, 1}), (Numbers{2, 3, 1, 0}));
  // Of equal cosines that with fewer such tokens is first, then the lower number.
  EXPECT_EQ(similar(2, {2, 2, 9, 9, 3, 3, 2, 2}), (Numbers{0, 3, 2, 1}));
  EXPECT_EQ(similar(1, {3, 1, 2}), (Numbers{1, 2, 0}));
  EXPECT_TRUE(similar(2, {}).empty());
}

TEST(SequenceOrder, WhereTheReferenceHasNoneTheNumberOfSuchTokensDecides) {
  EXPECT_EQ(similar(2, {1, 3, 0, 0, 2, 0, 0, 0}), (Numbers{1, 3, 2, 0}));
}

// The definition written out, on counts at random.
TEST(SequenceOrder, IsTheDefinitionOnRandomCounts) {
  Random random(7);
  for (int repeat = 0; repeat < 50; ++repeat) {
    std::vector<float> several(3 * 20);
    for (float& count : several) count = static_cast<float>(1 + random.next() % 6);
    const Numbers order = similar(3, several);
    const auto sum = [&](std::int64_t s) { return several[3 * s] + several[3 * s + 1] + several[3 * s + 2]; };
    const auto cosine = [&](std::int64_t s) {
      double product = 0, own = 0, reference = 0;
      for (int l = 0; l < 3; ++l) {
        const double a = several[3 * s + l], b = several[3 * order[0] + l];
        product += a * b, own += a * a, reference += b * b;
      }
      return product / std::sqrt(own * reference);
    };
    EXPECT_EQ(std::set<std::int64_t>(order.begin(), order.end()).size(), 20u);
    for (std::size_t i = 1; i < order.size(); ++i) {
      EXPECT_LE(sum(order[0]), sum(order[i]));
      if (i == 1) continue;
      EXPECT_GE(cosine(order[i - 1]), cosine(order[i]) - 1e-12);
    }
  }
}

TEST(SequenceOrder, FewestExpertsFirst) {
  const std::vector<float> several = {4, 0, 1, 1, 0, 2, 0, 0};
  EXPECT_EQ(order_by_experts({4, 2, several}), (Numbers{3, 1, 2, 0}));
}

Numbers pass_of(SequencePasses& passes, std::int64_t first_step, std::int64_t steps) {
  Numbers all;
  for (std::int64_t step = first_step; step < first_step + steps; ++step) {
    const Numbers spans = passes.spans_of_step(step);
    all.insert(all.end(), spans.begin(), spans.end());
  }
  return all;
}

TEST(SequencePasses, AShuffledPassReadsEverySequenceOnceInAnOrderOfItsOwn) {
  const SequenceOrder order{.kind = SequenceOrder::Kind::kShuffled};
  SequencePasses passes(order, 4, 23, 2, 5), again(order, 4, 23, 2, 5);
  ASSERT_EQ(passes.sequences(), 20);
  const Numbers first = pass_of(passes, 0, 5), second = pass_of(passes, 5, 5);
  const std::set<std::int64_t> kept(first.begin(), first.end());
  EXPECT_EQ(kept.size(), 20u);
  EXPECT_EQ(std::set<std::int64_t>(second.begin(), second.end()), kept);
  EXPECT_NE(first, second);
  again.go_on(7);  // nothing of it is kept: it follows from seed and step
  EXPECT_EQ(pass_of(again, 5, 5), second);
  EXPECT_TRUE(passes.state().empty());
}

TEST(SequencePasses, TheNextPassFollowsFromWhatThisOneNoted) {
  const SequenceOrder order{.kind = SequenceOrder::Kind::kFewestExperts, .pass_sequences = 6};
  SequencePasses passes(order, 2, 50, 1, 5);
  Numbers first;
  for (std::int64_t step = 0; step < 3; ++step) {
    const Numbers spans = passes.spans_of_step(step);
    first.insert(first.end(), spans.begin(), spans.end());
    passes.note(step, at::tensor({6.0f - 2 * step, 5.0f - 2 * step}).reshape({2, 1}));  // the last read has the fewest
  }
  std::reverse(first.begin(), first.end());
  EXPECT_EQ(pass_of(passes, 3, 3), first);
}

TEST(SequencePasses, TooShortATextIsNamed) {
  const auto error = [](std::int64_t pass, std::int64_t spans) {
    return error_of(
        [&] { SequencePasses({.kind = SequenceOrder::Kind::kShuffled, .pass_sequences = pass}, 4, spans, 1, 1); });
  };
  EXPECT_NE(error(12, 11).find("batch.order.pass_sequences is 12, expected at most 8"), std::string::npos);
  EXPECT_NE(error(0, 3).find("expected at most 0"), std::string::npos);
  EXPECT_EQ(error(8, 11), "no error");
}

TEST(SequencePasses, MistakesInTheRecipeAreNamed) {
  const auto error = [](const Json& json) { return error_of([&] { parse_sequence_order(json, 4, "r.json"); }); };
  EXPECT_NE(error({{"kind", "sorted"}}).find("shuffled"), std::string::npos);
  EXPECT_NE(error({{"kind", "shuffled"}, {"pass_sequences", 6}}).find("6, expected a multiple of 4"),
            std::string::npos);
  EXPECT_NE(error({{"pass_sequences", 8}}).find("expected nothing with kind drawn"), std::string::npos);
  EXPECT_EQ(error({{"kind", "similar_routing"}, {"pass_sequences", 8}}), "no error");
}

}  // namespace
}  // namespace junto
