#include "generate/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <vector>

#include "base/error.h"

namespace junto {
namespace {

SamplerOptions plain() {
  SamplerOptions o;
  o.temperature = 1.0f;
  o.top_p = 1.0f;
  o.min_p = 0.0f;
  return o;
}

// Counts of `draws` draws.
std::map<int, int> draw(const std::vector<float>& logits, const SamplerOptions& o, int draws,
                        std::vector<int> history = {}) {
  Random random(42);
  SamplerScratch scratch;
  std::map<int, int> counts;
  for (int i = 0; i < draws; ++i) ++counts[sample(logits, o, history, random, scratch)];
  return counts;
}

std::vector<float> logs(std::vector<float> probabilities) {
  for (float& p : probabilities) p = std::log(p);
  return probabilities;
}

TEST(Sampler, GreedyTakesTheBestAndTheLowestIdAmongEquals) {
  SamplerOptions o;
  o.temperature = 0;
  EXPECT_EQ(draw({1, 3, 3, 2}, o, 5), (std::map<int, int>{{1, 5}}));
}

TEST(Sampler, FrequenciesFollowTheProbabilities) {
  const std::vector<float> p = {0.5f, 0.25f, 0.15f, 0.1f};
  const int draws = 40000;
  const auto counts = draw(logs(p), plain(), draws);
  double chi_square = 0;
  for (int i = 0; i < 4; ++i) {
    const double expected = p[i] * draws, found = counts.at(i);
    chi_square += (found - expected) * (found - expected) / expected;
  }
  EXPECT_LT(chi_square, 16.27);  // 3 degrees of freedom, p = 0.001
}

TEST(Sampler, TemperatureSharpens) {
  SamplerOptions o = plain();
  o.temperature = 0.5f;  // squares the odds: 4 : 1
  const auto counts = draw(logs({2, 1}), o, 20000);
  EXPECT_NEAR(counts.at(0) / 20000.0, 0.8, 0.01);
}

TEST(Sampler, FiltersKeepExactlyWhatTheirPapersSay) {
  const std::vector<float> logits = logs({0.1f, 0.4f, 0.2f, 0.3f});
  const auto kept = [&](auto set) {
    SamplerOptions o = plain();
    set(o);
    std::vector<int> tokens;
    for (const auto& [token, count] : draw(logits, o, 4000)) tokens.push_back(token);
    return tokens;
  };
  EXPECT_EQ(kept([](auto& o) { o.top_k = 2; }), (std::vector<int>{1, 3}));
  EXPECT_EQ(kept([](auto& o) { o.top_p = 0.65f; }), (std::vector<int>{1, 3}));
  EXPECT_EQ(kept([](auto& o) { o.top_p = 0.75f; }), (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(kept([](auto& o) { o.min_p = 0.45f; }), (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(kept([](auto& o) { o.min_p = 0.6f; }), (std::vector<int>{1, 3}));
  // Entropy 1.28; surprises 2.30, 0.92, 1.61, 1.20: nearest first 3, 2, 1, 0.
  EXPECT_EQ(kept([](auto& o) { o.typical_p = 0.45f; }), (std::vector<int>{2, 3}));
}

TEST(Sampler, PenaltiesActOnTokensOfTheHistoryOnly) {
  SamplerOptions o;
  o.temperature = 0;
  o.repetition_penalty = 2.0f;
  EXPECT_EQ(draw({4, 3, -1}, o, 1, {0}).begin()->first, 1);
  EXPECT_EQ(draw({4, 3, -1}, o, 1, {1}).begin()->first, 0);
  o.repetition_penalty = 1.0f;
  o.frequency_penalty = 0.6f;
  EXPECT_EQ(draw({4, 3}, o, 1, {0}).begin()->first, 0);
  EXPECT_EQ(draw({4, 3}, o, 1, {0, 0}).begin()->first, 1);
  o.penalty_last_n = 1;
  EXPECT_EQ(draw({4, 3}, o, 1, {0, 0}).begin()->first, 0);
  o.frequency_penalty = 0;
  o.penalty_last_n = 64;
  o.presence_penalty = 1.5f;
  EXPECT_EQ(draw({4, 3}, o, 1, {0}).begin()->first, 1);
}

TEST(Sampler, BiasForbidsAndForces) {
  SamplerOptions o = plain();
  o.logit_bias[0] = -INFINITY;
  o.logit_bias[2] = 100;
  EXPECT_EQ(draw({9, 1, 1}, o, 50), (std::map<int, int>{{2, 50}}));
}

TEST(Sampler, SameSeedSameTokensAcrossASave) {
  const std::vector<float> logits(100, 0.0f);
  SamplerScratch scratch;
  Random a(7);
  sample(logits, plain(), {}, a, scratch);
  Random b = restore_random(save_random(a));
  for (int i = 0; i < 20; ++i)
    EXPECT_EQ(sample(logits, plain(), {}, a, scratch), sample(logits, plain(), {}, b, scratch));
}

TEST(Sampler, DamagedLogitsAndOptionsAreRefused) {
  EXPECT_THROW(draw({1, NAN}, plain(), 1), Error);
  EXPECT_THROW(draw({1, INFINITY}, plain(), 1), Error);
  EXPECT_THROW(draw({-INFINITY, -INFINITY}, plain(), 1), Error);
  SamplerOptions o;
  o.top_p = 1.5f;
  EXPECT_THROW(check_sampler(o, 10), Error);
  o = {};
  o.logit_bias[10] = 1;
  EXPECT_THROW(check_sampler(o, 10), Error);
  EXPECT_THROW(restore_random({}), Error);
}

}  // namespace
}  // namespace junto
