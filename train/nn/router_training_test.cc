#include "train/nn/router_training.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/error.h"
#include "train/nn/sparse_mixer.h"

namespace junto {
namespace {

using Noise = RouterTraining::Noise;

NoisyLogits noisy(const RouterTraining& training, const at::Tensor& logits, const DrawPlace& place,
                  const at::Tensor& projection = {}) {
  return add_noise(training, logits, projection, place);
}

TEST(AddNoise, DependsOnThePlaceAlone) {
  const at::Tensor logits = at::zeros({8, 4});
  for (const Noise kind : {Noise::kGaussian, Noise::kGumbel}) {
    const RouterTraining training{.noise = kind};
    const at::Tensor whole = noisy(training, logits, {.seed = 3, .step = 5}).weigh;
    EXPECT_TRUE(at::equal(whole, noisy(training, logits, {.seed = 3, .step = 5}).weigh));
    // The second half of a batch, as a micro-batch of its own.
    const at::Tensor half = noisy(training, logits.narrow(0, 4, 4), {.seed = 3, .step = 5, .first_unit = 4}).weigh;
    EXPECT_TRUE(at::equal(whole.narrow(0, 4, 4), half));
    for (const DrawPlace& other : {DrawPlace{.seed = 4, .step = 5}, DrawPlace{.seed = 3, .step = 6},
                                   DrawPlace{.seed = 3, .step = 5, .routing = 1}}) {
      EXPECT_FALSE(at::equal(whole, noisy(training, logits, other).weigh));
    }
  }
}

TEST(AddNoise, HasTheMomentsOfItsDistribution) {
  const at::Tensor logits = at::zeros({4000, 4}, at::kDouble);
  const at::Tensor gaussian = noisy({.noise = Noise::kGaussian, .amount = 2.0f}, logits, {}).weigh;
  EXPECT_NEAR(gaussian.mean().item<double>(), 0.0, 0.05);
  EXPECT_NEAR(gaussian.std().item<double>(), 2.0, 0.05);
  const at::Tensor gumbel = noisy({.noise = Noise::kGumbel}, logits, {.step = 1}).weigh;
  EXPECT_NEAR(gumbel.mean().item<double>(), 0.5772, 0.03);
  EXPECT_NEAR(gumbel.std().item<double>(), std::acos(-1.0) / std::sqrt(6.0), 0.03);
  const at::Tensor jitter = jittered({.noise = Noise::kJitter, .amount = 0.1f}, at::ones({4000, 4}), {});
  EXPECT_GE(jitter.min().item<double>(), 0.9);
  EXPECT_LE(jitter.max().item<double>(), 1.1);
  EXPECT_NEAR(jitter.std().item<double>(), 0.2 / std::sqrt(12.0), 0.003);
}

// Argmax of noisy logits is a draw from the softmax, whatever the temperature (EvoMoE's card).
TEST(AddNoise, GumbelDrawsFromTheSoftmax) {
  const at::Tensor logits = at::tensor({0.0, 1.0, 2.0}, at::kDouble).expand({20000, 3});
  for (const float temperature : {0.3f, 2.0f}) {
    const NoisyLogits out =
        noisy({.noise = Noise::kGumbel, .temperature = temperature, .noisy_weights = false}, logits, {.seed = 9});
    EXPECT_TRUE(at::equal(out.weigh, logits));
    const at::Tensor share = at::bincount(out.select.argmax(1), {}, 3).to(at::kDouble) / 20000.0;
    const at::Tensor expected = at::softmax(logits[0], 0);
    EXPECT_LT((share - expected).abs().max().item<double>(), 0.012) << share;
  }
}

TEST(AddNoise, LearnedDeviationHasItsGradient) {
  const at::Tensor logits = at::randn({3, 4}, at::kDouble),
                   projection = at::randn({3, 4}, at::kDouble).set_requires_grad(true);
  const RouterTraining training{.noise = Noise::kLearned};
  const auto loss = [&](const at::Tensor& p) { return noisy(training, logits, {.seed = 2}, p).weigh.square().sum(); };
  EXPECT_TRUE(noisy(training, logits, {}, projection).deviation.defined());
  loss(projection).backward();
  for (std::int64_t i = 0; i < 12; ++i) {
    at::Tensor above = projection.detach().clone(), below = projection.detach().clone();
    above.data_ptr<double>()[i] += 1e-6;
    below.data_ptr<double>()[i] -= 1e-6;
    const double slope = (loss(above).item<double>() - loss(below).item<double>()) / 2e-6;
    EXPECT_NEAR(projection.grad().data_ptr<double>()[i], slope, 1e-6);
  }
}

TEST(SampleSparseMixer, DrawsAndWeighsAsThePaperSays) {
  // 1.0 and 0.95 are within 2 * 0.1 of one another, 0.5 is not.
  const SparseMixer rule{.k = 2, .jitter_eps = 0.1f};
  const at::Tensor logits = at::tensor({0.5, 1.0, 0.95}, at::kDouble).expand({20000, 3}).contiguous();
  const SampledMixer sampled = sample_sparse_mixer(rule, logits, {.seed = 5});
  ASSERT_EQ(sampled.plan.slots(), 40000);
  const double first = 1.0 / (1.0 + std::exp(-0.05));  // p of expert 1 in round one
  int likeliest = 0, other = 0, whole = 0;
  for (std::int64_t u = 0; u < 20000; ++u) {
    const std::int32_t expert = sampled.plan.experts_of(u)[0];
    const double weight = sampled.weights.data_ptr<double>()[2 * u];
    ASSERT_NE(expert, 0);
    ASSERT_NE(sampled.plan.experts_of(u)[1], expert);
    if (expert == 1) {
      ++likeliest;
      ASSERT_NEAR(weight, first, 1e-9);
      // Round two: 0.95 alone, for 0.5 is further than 0.2 of it.
      ASSERT_NEAR(sampled.weights.data_ptr<double>()[2 * u + 1], 1.0, 1e-9);
    } else {
      ++other;
      const bool is_whole = std::fabs(weight - (1.0 - first)) < 1e-9;
      whole += is_whole;
      ASSERT_NEAR(weight, is_whole ? 1.0 - first : (1.0 - first) / 3.0, 1e-9);
    }
  }
  EXPECT_NEAR(likeliest / 20000.0, first, 0.012);
  EXPECT_NEAR(whole / static_cast<double>(other), 0.25, 0.02);
}

TEST(SampleSparseMixer, TheGradientIsThatOfTheProbability) {
  const SparseMixer rule{.k = 2, .jitter_eps = 0.3f};
  const at::Tensor logits =
      at::tensor({0.9, 1.0, 0.95, 0.1, 0.8}, at::kDouble).expand({6, 5}).contiguous().set_requires_grad(true);
  const SampledMixer sampled = sample_sparse_mixer(rule, logits, {.seed = 8});
  const at::Tensor upstream = at::randn({12}, at::kDouble);
  (sampled.weights * upstream).sum().backward();
  for (std::int64_t u = 0; u < 6; ++u) {
    for (std::int64_t e = 0; e < 5; ++e) {
      double expected = 0.0;
      std::vector<bool> taken(5, false);
      for (int round = 0; round < 2; ++round) {
        double best = -1e300, sum = 0.0;
        const double* row = logits.detach().data_ptr<double>() + u * 5;
        for (int i = 0; i < 5; ++i) best = taken[i] ? best : std::max(best, row[i]);
        const auto is_near = [&](int i) {
          return !taken[i] && (best - row[i]) / std::max(std::fabs(row[i]), best) <= 0.6;
        };
        for (int i = 0; i < 5; ++i) sum += is_near(i) ? std::exp(row[i]) : 0.0;
        const int chosen = sampled.plan.experts_of(u)[round];
        const double p = std::exp(row[chosen]) / sum, q = is_near(static_cast<int>(e)) ? std::exp(row[e]) / sum : 0.0;
        expected += upstream.data_ptr<double>()[2 * u + round] * p * ((chosen == e ? 1.0 : 0.0) - q);
        taken[chosen] = true;
      }
      EXPECT_NEAR(logits.grad().data_ptr<double>()[u * 5 + e], expected, 1e-9);
    }
  }
}

TEST(RouterTraining, ErrorsNameTheField) {
  const RouterSpec spec{.experts = 4, .select = TopK{1}};
  const auto error_of = [&](const char* text) -> std::string {
    try {
      parse_router_training(parse_json(text, "a"), spec, "a");
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(error_of(R"({"noise": "gumble"})"), "a: router_training: noise is \"gumble\", did you mean \"gumbel\"?");
  EXPECT_EQ(error_of(R"({"sample": true})"), "a: router_training: sample is true, expected false without sparse_mixer");
  EXPECT_EQ(error_of(R"({"select": {"rule": "top_k", "k": 9}})"), "a: router: select: k is 9, expected 1..4");
  EXPECT_EQ(error_of(R"({"noise": "gumbel", "temperature": 2, "noisy_weights": false})"), "");
}

}  // namespace
}  // namespace junto
