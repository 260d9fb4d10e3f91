#include "moe/predictor.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace junto {
namespace {

using Ids = std::vector<std::int32_t>;

Ids guess(Prefetch rule, int layer, std::size_t count, std::span<const float> scores = {}) {
  Predictor predictor(rule, {4, 0, 4});
  predictor.used(0, Ids{0, 3});
  predictor.used(2, Ids{1, 2});
  predictor.used(0, Ids{3});
  predictor.used(2, Ids{0, 2});
  predictor.used(0, Ids{1, 3});
  Ids out = {9};
  predictor.predict(layer, count, scores, out);
  return out;
}

TEST(Predictor, EachRuleGuessesWhatItSays) {
  const float scores[] = {0.0f, 0.1f, 0.7f, 0.2f};
  EXPECT_EQ(guess(Prefetch::kNone, 2, 4, scores), Ids());
  EXPECT_EQ(guess(Prefetch::kPreviousToken, 2, 4, scores), (Ids{0, 2}));
  EXPECT_EQ(guess(Prefetch::kPreviousLayer, 2, 4, scores), (Ids{1, 3}));
  EXPECT_EQ(guess(Prefetch::kNextRouter, 2, 2, scores), (Ids{2, 3}));
  EXPECT_EQ(guess(Prefetch::kNextRouter, 2, 4, {}), Ids());
  EXPECT_EQ(guess(Prefetch::kFrequency, 2, 4, scores), (Ids{2, 0, 1}));
  EXPECT_EQ(guess(Prefetch::kFrequency, 2, 1, scores), (Ids{2}));
}

TEST(Predictor, LayersWithoutExpertsArePassedOver) {
  const Predictor predictor(Prefetch::kFrequency, {4, 0, 4});
  EXPECT_EQ(predictor.layer_after(0), 2);
  EXPECT_EQ(predictor.layer_after(2), 0);
  EXPECT_EQ(Predictor(Prefetch::kFrequency, {4}).layer_after(0), 0);
}

TEST(Predictor, AnUnknownRuleNamesThoseThereAre) {
  EXPECT_EQ(prefetch_name(parse_prefetch("next-router")), "next-router");
  EXPECT_THROW(parse_prefetch("oracle"), Error);
}

}  // namespace
}  // namespace junto
