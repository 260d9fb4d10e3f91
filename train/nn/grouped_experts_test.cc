#include "train/nn/grouped_experts.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <random>

namespace junto {
namespace {

/// Units with 0 to `most` slots, experts drawn from the first `used`; one unit may name an expert twice.
RoutePlan random_plan(std::int64_t units, int used, int most, std::mt19937& random) {
  RoutePlan plan;
  for (std::int64_t unit = 0; unit < units; ++unit) {
    const int slots = static_cast<int>(random() % (most + 1));
    for (int s = 0; s < slots; ++s) {
      plan.expert.push_back(static_cast<std::int32_t>(random() % used));
      plan.weight.push_back(static_cast<float>(random() % 1000) / 500.0f - 1.0f);
    }
    plan.offset.push_back(static_cast<std::int32_t>(plan.expert.size()));
  }
  return plan;
}

struct Layer {
  RoutePlan plan;
  std::shared_ptr<const GroupedSlots> slots;
  at::Tensor x, weights, gate_up, down;

  std::vector<at::Tensor*> leaves() { return {&x, &weights, &gate_up, &down}; }
};

Layer random_layer(std::int64_t units, int experts, int used, std::int64_t hidden, std::int64_t width, int most,
                   at::ScalarType type, unsigned seed = 1) {
  std::mt19937 random(seed);
  Layer layer;
  layer.plan = random_plan(units, used, most, random);
  layer.slots = group_slots(layer.plan, experts);
  const auto tensor = [&](std::vector<std::int64_t> shape, double deviation) {
    std::normal_distribution<double> normal(0.0, deviation);
    at::Tensor values = at::empty(shape, at::kDouble);
    double* data = values.data_ptr<double>();
    for (std::int64_t i = 0; i < values.numel(); ++i) data[i] = normal(random);
    return values.to(type).set_requires_grad(true);
  };
  layer.x = tensor({units, hidden}, 1.0);
  layer.weights = tensor({layer.plan.slots()}, 0.5);
  layer.gate_up = tensor({experts, 2 * width, hidden}, 1.0 / std::sqrt(static_cast<double>(hidden)));
  layer.down = tensor({experts, hidden, width}, 1.0 / std::sqrt(static_cast<double>(width)));
  return layer;
}

at::Tensor run(const Layer& layer, std::shared_ptr<ExpertGradients> gradients = nullptr) {
  return grouped_experts(layer.x, layer.weights, layer.gate_up, layer.down, layer.slots, std::move(gradients));
}

/// Straight from the formula, one slot at a time, in double.
std::vector<double> naive(const Layer& layer) {
  const at::Tensor x = layer.x.detach().to(at::kDouble), w = layer.weights.detach().to(at::kDouble);
  const at::Tensor gate_up = layer.gate_up.detach().to(at::kDouble), down = layer.down.detach().to(at::kDouble);
  const std::int64_t hidden = x.size(1), width = down.size(2);
  const auto x_at = x.accessor<double, 2>();
  const auto gate_up_at = gate_up.accessor<double, 3>();
  const auto down_at = down.accessor<double, 3>();
  std::vector<double> out(layer.plan.units() * hidden, 0.0);
  for (std::int64_t u = 0; u < layer.plan.units(); ++u) {
    for (std::int32_t s = layer.plan.offset[u]; s < layer.plan.offset[u + 1]; ++s) {
      const std::int32_t e = layer.plan.expert[s];
      for (std::int64_t h = 0; h < width; ++h) {
        double gate = 0.0, up = 0.0;
        for (std::int64_t d = 0; d < hidden; ++d) {
          gate += gate_up_at[e][h][d] * x_at[u][d];
          up += gate_up_at[e][width + h][d] * x_at[u][d];
        }
        const double value = w.data_ptr<double>()[s] * gate / (1.0 + std::exp(-gate)) * up;
        for (std::int64_t d = 0; d < hidden; ++d) out[u * hidden + d] += value * down_at[e][d][h];
      }
    }
  }
  return out;
}

/// The usual way: for each expert its rows, index_add back, gradients by autograd.
at::Tensor loop(const Layer& layer) {
  const std::int64_t width = layer.down.size(2);
  at::Tensor out = at::zeros_like(layer.x);
  for (const std::int32_t e : layer.slots->groups.active) {
    const auto ids = [&](std::span<const std::int32_t> span) {
      return at::tensor(std::vector<std::int64_t>(span.begin(), span.end()), at::kLong);
    };
    const at::Tensor unit = ids(layer.slots->groups.units_of(e)), slot = ids(layer.slots->groups.slots_of(e));
    const at::Tensor projected = at::mm(layer.x.index_select(0, unit), layer.gate_up[e].t());
    const at::Tensor hidden = at::silu(projected.narrow(1, 0, width)) * projected.narrow(1, width, width);
    const at::Tensor y = at::mm(hidden, layer.down[e].t()) * layer.weights.index_select(0, slot).unsqueeze(1);
    out = out.index_add(0, unit, y);
  }
  return out;
}

double largest(const at::Tensor& tensor) {
  return tensor.numel() == 0 ? 0.0 : tensor.abs().max().item<double>();
}

void expect_near(const at::Tensor& found, const at::Tensor& expected, double relative, const char* what) {
  ASSERT_TRUE(found.defined() && expected.defined()) << what;
  EXPECT_LE(largest(found - expected), relative * (largest(expected) + 1e-30)) << what;
}

TEST(GroupedExperts, OutputIsTheFormula) {
  for (const auto type : {at::kDouble, at::kFloat}) {
    const Layer layer = random_layer(37, 6, 5, 19, 23, 4, type);
    const at::Tensor out = run(layer).detach().to(at::kDouble).contiguous();
    const std::vector<double> expected = naive(layer);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      ASSERT_NEAR(out.data_ptr<double>()[i], expected[i], type == at::kDouble ? 1e-12 : 1e-5) << i;
    }
  }
}

TEST(GroupedExperts, GradientsAreTheDifferencesOfTheFormula) {
  Layer layer = random_layer(9, 4, 3, 5, 6, 3, at::kDouble);
  const at::Tensor upstream = at::randn({9, 5}, at::kDouble);
  run(layer).backward(upstream);
  const auto loss = [&] {
    const std::vector<double> out = naive(layer);
    double sum = 0.0;
    for (std::size_t i = 0; i < out.size(); ++i) sum += out[i] * upstream.data_ptr<double>()[i];
    return sum;
  };
  for (at::Tensor* leaf : layer.leaves()) {
    at::Tensor values = leaf->detach();
    for (std::int64_t i = 0; i < values.numel(); ++i) {
      double& value = values.data_ptr<double>()[i];
      const double kept = value, step = 1e-5;
      value = kept + step;
      const double above = loss();
      value = kept - step;
      const double below = loss();
      value = kept;
      ASSERT_NEAR(leaf->grad().data_ptr<double>()[i], (above - below) / (2 * step), 1e-8) << i;
    }
  }
}

// Experts of more rows than one task takes, others of few or none.
TEST(GroupedExperts, AgreesWithTheLoopOverExperts) {
  Layer layer = random_layer(1500, 5, 2, 48, 40, 3, at::kFloat), same = random_layer(1500, 5, 2, 48, 40, 3, at::kFloat);
  const at::Tensor upstream = at::randn({1500, 48});
  const at::Tensor out = run(layer), expected = loop(same);
  expect_near(out.detach(), expected.detach(), 1e-5, "out");
  out.backward(upstream);
  expected.backward(upstream);
  for (std::size_t i = 0; i < layer.leaves().size(); ++i) {
    expect_near(layer.leaves()[i]->grad(), same.leaves()[i]->grad(), 1e-5, "gradient");
  }
}

TEST(GroupedExperts, BitsDoNotDependOnTheNumberOfThreads) {
  const int threads = omp_get_max_threads();
  std::vector<at::Tensor> first;
  for (const int count : {1, 2, 3}) {
    omp_set_num_threads(count);
    Layer layer = random_layer(700, 6, 5, 32, 24, 3, at::kFloat);
    std::vector<at::Tensor> results = {run(layer)};
    results[0].backward(at::ones_like(results[0]));
    for (at::Tensor* leaf : layer.leaves()) results.push_back(leaf->grad());
    if (first.empty()) first = results;
    for (std::size_t i = 0; i < results.size(); ++i) EXPECT_TRUE(at::equal(results[i], first[i])) << count << " " << i;
  }
  omp_set_num_threads(threads);
}

TEST(GroupedExperts, GradientsInPlaceAreOverwrittenAfterClearAndAddedToOtherwise) {
  Layer expected = random_layer(800, 5, 3, 16, 12, 3, at::kDouble),
        layer = random_layer(800, 5, 3, 16, 12, 3, at::kDouble);
  const auto gradients = std::make_shared<ExpertGradients>(layer.gate_up, layer.down);
  gradients->gate_up().fill_(1e9);  // what clear() leaves is never read
  gradients->down().fill_(1e9);
  const at::Tensor upstream = at::randn({800, 16}, at::kDouble);
  for (const int micro_batches : {1, 2, 1}) {
    gradients->clear();
    for (at::Tensor* leaf : expected.leaves()) leaf->mutable_grad() = at::Tensor();
    for (int i = 0; i < micro_batches; ++i) {
      EXPECT_EQ(gradients->filled(), i > 0);
      run(layer, gradients).backward(upstream * (i + 1));
      run(expected).backward(upstream * (i + 1));
    }
    EXPECT_TRUE(gradients->filled());
    expect_near(layer.gate_up.grad(), expected.gate_up.grad(), 1e-12, "gate_up");
    expect_near(layer.down.grad(), expected.down.grad(), 1e-12, "down");
    EXPECT_EQ(layer.down.grad().data_ptr(), gradients->down().data_ptr());
  }
}

TEST(GroupedExperts, ZeroUnitsAndUnitsWithoutSlotsAreLegal) {
  for (const std::int64_t units : {0, 3}) {
    Layer layer = random_layer(units, 2, 1, 8, 4, 0, at::kFloat);
    const at::Tensor out = run(layer);
    EXPECT_EQ(largest(out), 0.0);
    out.sum().backward();
    for (at::Tensor* leaf : {&layer.x, &layer.gate_up, &layer.down}) {
      ASSERT_TRUE(leaf->grad().defined());
      EXPECT_EQ(largest(leaf->grad()), 0.0);
    }
  }
}

TEST(GroupedExperts, FrozenExpertsAndInputsGetNoGradients) {
  Layer layer = random_layer(20, 3, 3, 8, 4, 2, at::kFloat);
  layer.gate_up.set_requires_grad(false);
  layer.down.set_requires_grad(false);
  layer.x.set_requires_grad(false);
  run(layer).sum().backward();
  EXPECT_TRUE(layer.weights.grad().defined());
  EXPECT_FALSE(layer.gate_up.grad().defined() || layer.down.grad().defined() || layer.x.grad().defined());
}

TEST(GroupedExperts, RefusesShapesThatDoNotFitAndSecondDerivatives) {
  Layer layer = random_layer(20, 3, 3, 8, 4, 2, at::kFloat);
  EXPECT_THROW(grouped_experts(layer.x, layer.weights, layer.down, layer.gate_up, layer.slots), c10::Error);
  EXPECT_THROW(grouped_experts(layer.x.narrow(0, 0, 19), layer.weights, layer.gate_up, layer.down, layer.slots),
               c10::Error);
  EXPECT_THROW(run(layer).sum().backward({}, false, /*create_graph=*/true), c10::Error);
}

}  // namespace
}  // namespace junto
