#include "train/loop/adafactor.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <random>
#include <vector>

#include "format/test_directory.h"
#include "train/loop/test_recipe.h"
#include "train/loop/trainer.h"

namespace junto {
namespace {

struct Made {
  at::Tensor matrix, norm, stack;
  Parameters parameters;
  Made() {
    parameters = Parameters({{.name = "matrix", .shape = {6, 19}, .out = &matrix, .deviation = 0.3, .decays = true},
                             {.name = "norm", .shape = {21}, .out = &norm, .mean = 1.0},
                             {.name = "stack", .shape = {3, 4, 7}, .out = &stack, .deviation = 1e-5, .decays = true}},
                            5);
  }
  void draw_gradients(unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (const Parameter& parameter : parameters.all()) {
      for (std::int64_t i = 0; i < parameter.value.numel(); ++i)
        parameter.value.grad().data_ptr<float>()[i] = normal(random) * (i % 5 == 0 ? 20.0f : 0.1f);
    }
  }
};

/// Algorithms 4 and 5 of the paper as they stand there: sums of rows and columns, V = R C / 1'R.
struct Paper {
  std::vector<double> x, r, c, v, m;
  std::size_t rows, columns;  // rows 0: a vector

  void step(const std::vector<double>& g, int t, const OptimizerOptions& o, double rate, bool decays) {
    const double beta2 = 1.0 - std::pow(t, -static_cast<double>(o.beta2_exponent)), eps1 = o.eps;
    std::vector<double> estimate(x.size());
    if (rows == 0) {
      for (std::size_t i = 0; i < x.size(); ++i) estimate[i] = v[i] = beta2 * v[i] + (1 - beta2) * (g[i] * g[i] + eps1);
    } else {
      double all = 0.0;
      for (std::size_t i = 0; i < rows; ++i) {
        double sum = 0.0;
        for (std::size_t j = 0; j < columns; ++j) sum += g[i * columns + j] * g[i * columns + j] + eps1;
        r[i] = beta2 * r[i] + (1 - beta2) * sum;
        all += r[i];
      }
      for (std::size_t j = 0; j < columns; ++j) {
        double sum = 0.0;
        for (std::size_t i = 0; i < rows; ++i) sum += g[i * columns + j] * g[i * columns + j] + eps1;
        c[j] = beta2 * c[j] + (1 - beta2) * sum;
      }
      for (std::size_t i = 0; i < x.size(); ++i) estimate[i] = r[i / columns] * c[i % columns] / all;
    }
    double u2 = 0.0, x2 = 0.0;
    std::vector<double> u(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) {
      u[i] = g[i] / std::sqrt(estimate[i]);
      u2 += u[i] * u[i];
      x2 += x[i] * x[i];
    }
    const double n = static_cast<double>(x.size()), clip = std::max(1.0, std::sqrt(u2 / n) / o.clip_update);
    const double alpha = (o.relative_step ? std::max(1e-3, std::sqrt(x2 / n)) : 1.0) * rate;
    for (std::size_t i = 0; i < x.size(); ++i) {
      m[i] = o.beta1 * m[i] + (1 - static_cast<double>(o.beta1)) * u[i] / clip;
      x[i] -= (decays ? rate * o.weight_decay * x[i] : 0.0) + alpha * m[i];
    }
  }
};

std::vector<Paper> papers_of(const Made& made) {
  std::vector<Paper> out;
  const auto add = [&](const float* values, std::size_t rows, std::size_t columns) {
    const std::size_t size = std::max<std::size_t>(1, rows) * columns;
    out.push_back({{values, values + size},
                   std::vector<double>(rows),
                   std::vector<double>(columns),
                   std::vector<double>(size),
                   std::vector<double>(size),
                   rows,
                   columns});
  };
  add(made.matrix.data_ptr<float>(), 6, 19);
  add(made.norm.data_ptr<float>(), 0, 21);
  for (int s = 0; s < 3; ++s) add(made.stack.data_ptr<float>() + 28 * s, 4, 7);
  return out;
}

OptimizerOptions adafactor() {
  return {.kind = OptimizerOptions::Kind::kAdafactor, .beta1 = 0.0f, .eps = 1e-30f, .weight_decay = 0.1f};
}

TEST(Adafactor, IsThePapersInDouble) {
  std::vector<OptimizerOptions> cases(4, adafactor());
  cases[1].relative_step = false;
  cases[1].beta2_exponent = 0.5f;
  cases[2].beta1 = 0.7f;
  cases[2].clip_update = 0.3f;
  cases[3].clip_update = 1e30f;
  cases[3].eps = 1e-3f;
  for (const OptimizerOptions& options : cases) {
    Made made;
    Optimizer state(options, made.parameters);
    std::vector<Paper> papers = papers_of(made);
    for (int step = 1; step <= 5; ++step) {
      made.draw_gradients(static_cast<unsigned>(step));
      const double rate = 0.02 * step;
      update(state, options, made.parameters, rate, 0.5);
      const std::vector<std::pair<const at::Tensor*, bool>> places = {
          {&made.matrix, true}, {&made.norm, false}, {&made.stack, true}, {&made.stack, true}, {&made.stack, true}};
      for (std::size_t p = 0; p < papers.size(); ++p) {
        const std::size_t size = papers[p].x.size(), from = p < 2 ? 0 : (p - 2) * size;
        const auto& [tensor, decays] = places[p];
        const float* gradient = tensor->grad().data_ptr<float>() + from;
        std::vector<double> g(gradient, gradient + size);
        for (double& value : g) value *= 0.5;
        papers[p].step(g, step, options, rate, decays);
        for (std::size_t i = 0; i < size; ++i) {
          const double expected = papers[p].x[i];
          ASSERT_NEAR(tensor->data_ptr<float>()[from + i], expected, 1e-5 * (1e-4 + std::fabs(expected)))
              << p << " " << i;
        }
      }
    }
  }
}

TEST(Adafactor, KeepsAValueARowAndAColumn) {
  const Made made;
  Optimizer state(adafactor(), made.parameters);
  EXPECT_FALSE(state.first.defined());
  EXPECT_EQ(state.second.numel(), 6 + 19 + 21 + 3 * (4 + 7));
  EXPECT_EQ(state.bytes(), 4 * state.second.numel());
}

// The first update of a weight alone: its size is 1 whatever the gradient's, so it is the relative rate.
TEST(Adafactor, ARelativeStepIsAShareOfTheWeight) {
  for (const float gradient : {1e-8f, 5.0f}) {
    at::Tensor weight;
    Parameters parameters({{.name = "w", .shape = {1, 1}, .out = &weight, .mean = 2.0, .decays = true}}, 0);
    OptimizerOptions options = adafactor();
    options.weight_decay = 0.0f;
    Optimizer state(options, parameters);
    weight.grad().fill_(gradient);
    update(state, options, parameters, 0.01, 1.0);
    EXPECT_NEAR(weight.item<float>(), 2.0f - 0.02f, 1e-6f);
    weight.grad().fill_(0.0f);
    update(state, options, parameters, 0.01, 1.0);
    EXPECT_NEAR(weight.item<float>(), 2.0f - 0.02f, 1e-6f);
  }
}

TEST(Adafactor, BitsDoNotDependOnTheNumberOfThreads) {
  const int threads = omp_get_max_threads();
  std::vector<at::Tensor> values;
  for (const int count : {1, 2, 3}) {
    omp_set_num_threads(count);
    Made made;
    OptimizerOptions options = adafactor();
    options.average = 0.9f;
    Optimizer state(options, made.parameters);
    for (unsigned step = 1; step <= 3; ++step) {
      made.draw_gradients(step);
      update(state, options, made.parameters, 0.1, 1.0, {false, step == 2, false});
    }
    values.push_back(made.parameters.values());
    EXPECT_TRUE(at::equal(values.back(), values.front()));
  }
  omp_set_num_threads(threads);
}

Json adafactor_recipe(const TestDirectory& directory) {
  return small_recipe(directory, lines_to_learn(),
                      {{"optimizer", {{"kind", "adafactor"}, {"learning_rate", 0.05}, {"average", 0.9}}},
                       {"schedule", {{"steps", 40}}},
                       {"stages", Json::array({Json{{"from", 0.5}, {"experts", 8}}})}});
}

// With experts that grow between the checkpoint and the end.
TEST(Adafactor, LearnsGrowsAndGoesOnToTheBit) {
  const TestDirectory directory;
  for (const double beta1 : {0.0, 0.5}) {
    Json json = adafactor_recipe(directory);
    json["optimizer"]["beta1"] = beta1;
    Trainer whole(parse_recipe(json, "r.json")), part(parse_recipe(json, "r.json"));
    const double before = whole.train_step().loss;
    double after = 0.0;
    while (!whole.done()) after = whole.train_step().loss;
    EXPECT_LT(after, 0.6 * before);
    EXPECT_EQ(whole.model().shape().router.experts, 8);
    for (int step = 0; step < 30; ++step) part.train_step();
    const std::string path = directory.path("checkpoint.safetensors");
    part.save(path);
    Trainer resumed(parse_recipe(json, "r.json"));
    resumed.load(path);
    while (!resumed.done()) resumed.train_step();
    EXPECT_TRUE(at::equal(whole.model().parameters().values(), resumed.model().parameters().values())) << beta1;
  }
}

TEST(Adafactor, GrownFactorsAreCopies) {
  const auto parameters_of = [](std::int64_t experts) {
    at::Tensor router, stack;
    return Parameters({{.name = "router", .shape = {experts, 3}, .out = &router},
                       {.name = "stack", .shape = {experts, 2, 3}, .out = &stack}},
                      1);
  };
  const Parameters two = parameters_of(2), four = parameters_of(4);
  const at::Tensor second = at::arange(1, 16, at::kFloat);  // router 2 + 3, stack 2 x (2 + 3)
  const at::Tensor grown = moved_factors(second, two, four);
  const at::Tensor expected =
      at::tensor({1, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
          .to(at::kFloat);
  EXPECT_TRUE(at::equal(grown, expected)) << grown;
}

TEST(Adafactor, FieldsOfOtherKindsAreRefused) {
  const auto error = [](const char* json) { return error_of([&] { parse_optimizer(Json::parse(json), "r.json"); }); };
  EXPECT_EQ(error(R"({"kind": "adafactor", "clip_update": 2, "relative_step": false})"), "no error");
  EXPECT_NE(error(R"({"kind": "adafactor", "beta2": 0.9})").find("expected beta2_exponent with adafactor"),
            std::string::npos);
  EXPECT_NE(error(R"({"kind": "adafactor", "eps": 0})").find("eps is 0, expected more than 0"), std::string::npos);
  EXPECT_NE(error(R"({"clip_update": 2})").find("clip_update is set, expected it with kind adafactor alone"),
            std::string::npos);
  const TestDirectory directory;
  Json recipe = adafactor_recipe(directory);
  recipe["ramps"] = {{"optimizer.beta1", Json::array({Json::array({0, 0.5})})}};
  EXPECT_NE(error_of([&] { parse_recipe(recipe, "r.json"); }).find("ramps: optimizer.beta1 is set"), std::string::npos);
}

}  // namespace
}  // namespace junto
