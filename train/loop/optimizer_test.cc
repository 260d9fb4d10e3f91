#include "train/loop/optimizer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <random>
#include <vector>

#include "train/loop/schedule.h"

namespace junto {
namespace {

struct Made {
  at::Tensor matrix, norm;
  Parameters parameters;
  explicit Made(std::int64_t rows = 70) {
    parameters = Parameters({{.name = "matrix", .shape = {rows, 999}, .out = &matrix, .deviation = 1.0, .decays = true},
                             {.name = "norm", .shape = {37}, .out = &norm, .mean = 1.0}},
                            5);
  }
  void draw_gradients(unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (const Parameter& parameter : parameters.all()) {
      for (std::int64_t i = 0; i < parameter.value.numel(); ++i)
        parameter.value.grad().data_ptr<float>()[i] = normal(random);
    }
  }
};

TEST(AdamW, IsTheAlgorithmInDouble) {
  Made made(3);
  const OptimizerOptions options{.beta1 = 0.8f, .beta2 = 0.9f, .eps = 1e-6f, .weight_decay = 0.3f};
  Optimizer state(options, made.parameters);
  struct Reference {
    std::vector<double> value, first, second;
  };
  std::vector<Reference> references;
  for (const Parameter& parameter : made.parameters.all()) {
    const float* values = parameter.value.data_ptr<float>();
    const auto size = static_cast<std::size_t>(parameter.value.numel());
    references.push_back({{values, values + size}, std::vector<double>(size), std::vector<double>(size)});
  }
  const double beta1 = options.beta1, beta2 = options.beta2, decay = options.weight_decay, eps = options.eps;
  for (int step = 1; step <= 4; ++step) {
    made.draw_gradients(static_cast<unsigned>(step));
    const double rate = 0.01 * step;
    update(state, options, made.parameters, rate, 0.5);
    for (std::size_t p = 0; p < references.size(); ++p) {
      const Parameter& parameter = made.parameters.all()[p];
      Reference& r = references[p];
      for (std::size_t i = 0; i < r.value.size(); ++i) {
        const double g = 0.5 * parameter.value.grad().data_ptr<float>()[i];
        r.first[i] = beta1 * r.first[i] + (1 - beta1) * g;
        r.second[i] = beta2 * r.second[i] + (1 - beta2) * g * g;
        const double first = r.first[i] / (1 - std::pow(beta1, step)),
                     second = r.second[i] / (1 - std::pow(beta2, step));
        r.value[i] -= rate * (first / (std::sqrt(second) + eps) + (parameter.decays ? decay * r.value[i] : 0.0));
        ASSERT_NEAR(parameter.value.data_ptr<float>()[i], r.value[i], 1e-5) << parameter.name << " " << i;
      }
    }
  }
  EXPECT_EQ(state.step, 4);
}

TEST(AdamW, BitsDoNotDependOnTheNumberOfThreads) {
  const int threads = omp_get_max_threads();
  std::vector<at::Tensor> values;
  std::vector<double> norms;
  for (const int count : {1, 2, 3}) {
    omp_set_num_threads(count);
    Made made;
    made.draw_gradients(1);
    Optimizer state({}, made.parameters);
    norms.push_back(gradient_norm(made.parameters));
    update(state, {}, made.parameters, 0.1, 1.0);
    values.push_back(made.parameters.values());
    EXPECT_EQ(norms.back(), norms.front());
    EXPECT_TRUE(at::equal(values.back(), values.front()));
  }
  omp_set_num_threads(threads);
  EXPECT_NEAR(norms[0], std::sqrt(70.0 * 999 + 37), 5.0);
}

// One weight by hand: the definitions, two steps.
double one_weight(const OptimizerOptions& options, const std::vector<double>& gradients, double rate) {
  at::Tensor weight;
  Parameters parameters({{.name = "w", .shape = {1, 1}, .out = &weight, .mean = 1.0, .decays = true}}, 0);
  Optimizer state(options, parameters);
  for (const double gradient : gradients) {
    *weight.grad().data_ptr<float>() = static_cast<float>(gradient);
    update(state, options, parameters, rate, 1.0);
  }
  return weight.detach().item<double>();
}

TEST(Lion, StepsByTheSignOfTheMixAndKeepsASlowerMean) {
  const OptimizerOptions options{
      .kind = OptimizerOptions::Kind::kLion, .beta1 = 0.5f, .beta2 = 0.9f, .weight_decay = 0.0f};
  // m 0, g 1: mix 0.5, step -; m 0.1; g -0.05: mix 0.025, step - again; m 0.085; g -0.085: mix 0.
  EXPECT_NEAR(one_weight(options, {1.0, -0.05}, 0.1), 0.8, 1e-6);
  OptimizerOptions decaying = options;
  decaying.weight_decay = 0.5f;
  EXPECT_NEAR(one_weight(decaying, {1.0}, 0.1), 0.95 - 0.1, 1e-6);
}

TEST(Sgd, AddsUpMomentum) {
  const OptimizerOptions options{.kind = OptimizerOptions::Kind::kSgd, .beta1 = 0.5f, .weight_decay = 0.0f};
  EXPECT_NEAR(one_weight(options, {1.0, 2.0}, 0.1), 1.0 - 0.1 * 1.0 - 0.1 * 2.5, 1e-6);
}

TEST(Optimizer, FrozenParametersKeepValuesMomentsAndAverage) {
  Made made;
  const OptimizerOptions options{.average = 0.5f};
  Optimizer state(options, made.parameters);
  const at::Tensor matrix = made.matrix.detach().clone(), norm = made.norm.detach().clone();
  made.draw_gradients(1);
  update(state, options, made.parameters, 0.1, 1.0, {true, false});
  EXPECT_TRUE(at::equal(made.matrix.detach(), matrix));
  EXPECT_FALSE(at::equal(made.norm.detach(), norm));
  EXPECT_EQ(state.first.narrow(0, 0, matrix.numel()).abs().max().item<float>(), 0.0f);
  EXPECT_TRUE(at::equal(state.average.narrow(0, 0, matrix.numel()), matrix.reshape({-1})));
}

TEST(Optimizer, TheAverageFollowsTheWeightsAndChangesPlacesWithThem) {
  Made made;
  const OptimizerOptions options{.average = 0.999f};
  Optimizer state(options, made.parameters);
  const at::Tensor before = made.parameters.values().clone();
  made.draw_gradients(1);
  update(state, options, made.parameters, 0.1, 1.0);
  const at::Tensor after = made.parameters.values().clone();
  const double decay = 2.0 / 11.0;  // of the first step
  EXPECT_LE((state.average - (before * decay + after * (1 - decay))).abs().max().item<float>(), 1e-6f);
  const at::Tensor average = state.average.clone();
  swap_average(state, made.parameters);
  EXPECT_TRUE(at::equal(made.parameters.values(), average));
  EXPECT_TRUE(at::equal(state.average, after));
}

TEST(Parameters, TheSameSeedGivesTheSameValuesAndNamesKeepTheirPlaces) {
  const Made a, b;
  EXPECT_TRUE(at::equal(a.parameters.values(), b.parameters.values()));
  EXPECT_EQ(a.parameters.count(), 70 * 999 + 37);
  EXPECT_EQ(a.matrix.data_ptr<float>(), a.parameters.values().data_ptr<float>());
  EXPECT_TRUE(at::equal(a.norm.detach(), at::ones({37})));
  EXPECT_NEAR(a.matrix.detach().std().item<float>(), 1.0f, 0.02f);
}

TEST(Schedule, WarmsUpAndFollowsItsCurve) {
  Schedule schedule{.steps = 110, .warmup_steps = 10, .final_share = 0.2f, .decay_share = 0.5f};
  EXPECT_DOUBLE_EQ(learning_rate_share(schedule, {.step = 0}), 0.1);
  EXPECT_DOUBLE_EQ(learning_rate_share(schedule, {.step = 9}), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate_share(schedule, {.step = 10}), 1.0);
  EXPECT_NEAR(learning_rate_share(schedule, {.step = 109}), 0.2, 1e-7);
  EXPECT_NEAR(learning_rate_share(schedule, {.step = 10}) + learning_rate_share(schedule, {.step = 109}),
              learning_rate_share(schedule, {.step = 30}) + learning_rate_share(schedule, {.step = 89}),
              1e-12);  // a cosine is odd about its middle
  schedule.kind = Schedule::Kind::kWsd;
  EXPECT_DOUBLE_EQ(learning_rate_share(schedule, {.step = 54}), 1.0);
  EXPECT_NEAR(learning_rate_share(schedule, {.step = 82}), 1.0 - 0.8 * 28 / 55, 1e-7);
  EXPECT_NEAR(learning_rate_share(schedule, {.step = 109}), 0.2, 1e-7);
  schedule.kind = Schedule::Kind::kConstant;
  EXPECT_DOUBLE_EQ(learning_rate_share(schedule, {.step = 109}), 1.0);
}

}  // namespace
}  // namespace junto
