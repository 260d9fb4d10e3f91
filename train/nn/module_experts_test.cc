#include "train/nn/module_experts.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace junto {
namespace {

constexpr int kModules = 4;

/// Three modules with weights of their own, from [rows, 2, 3] to [rows, 2, 5], and one that gives what is there twice
/// over.
struct Modules {
  std::vector<at::Tensor> weights;
  std::vector<ModuleExpert> experts;
  std::vector<std::int64_t> rows = std::vector<std::int64_t>(kModules);

  explicit Modules(const at::TensorOptions& type) {
    for (int e = 0; e < kModules; ++e) {
      weights.push_back(at::randn({3, 5}, type).requires_grad_());
      experts.push_back({.run =
                             [this, e](const at::Tensor& x) {
                               rows[static_cast<std::size_t>(e)] += x.size(0);
                               return at::tanh(at::matmul(x, weights[static_cast<std::size_t>(e)])) * (e + 1);
                             },
                         .flops = 10.0 * (e + 1)});
    }
  }
};

RoutedUnits routed_by(const at::Tensor& logits, const SelectRule& rule) {
  const RouterSpec spec{.experts = kModules, .select = rule};
  return route_under_autograd(compile_router(spec, LayerPolicy()), logits);
}

at::Tensor one_by_one(const Modules& modules, const at::Tensor& x, const RoutedUnits& routed) {
  std::vector<at::Tensor> out;
  for (std::int64_t unit = 0; unit < x.size(0); ++unit) {
    at::Tensor sum = at::zeros({1, 2, 5}, x.options());
    for (std::int32_t slot = routed.plan.offset[unit]; slot < routed.plan.offset[unit + 1]; ++slot) {
      const auto& expert = modules.experts[static_cast<std::size_t>(routed.plan.expert[slot])];
      sum = sum + routed.weights[slot] * expert.run(x.narrow(0, unit, 1));
    }
    out.push_back(sum);
  }
  return at::cat(out, 0);
}

TEST(ModuleExperts, SeveralRoutersShareThemAndEachRowIsComputedOnce) {
  at::manual_seed(3);
  const at::TensorOptions type = at::kDouble;
  Modules modules(type);
  const at::Tensor x = at::randn({9, 2, 3}, type).requires_grad_();
  const at::Tensor first_logits = at::randn({9, kModules}, type).requires_grad_();
  const at::Tensor second_logits = (first_logits * 0.5 + at::randn({9, kModules}, type)).detach().requires_grad_();
  const RoutedUnits first = routed_by(first_logits, TopK{2}), second = routed_by(second_logits, Threshold{0.3f});
  ModuleUse use;
  const RoutedUnits* const routings[] = {&first, &second};
  const std::vector<at::Tensor> found = module_experts(x, modules.experts, routings, &use);
  std::int64_t asked = 0, rows = 0;
  double flops = 0;
  for (std::int64_t unit = 0; unit < 9; ++unit) {
    for (int e = 0; e < kModules; ++e) {
      const auto takes = [&](const RoutedUnits& routed) {
        const auto experts = routed.plan.experts_of(unit);
        return std::find(experts.begin(), experts.end(), e) != experts.end();
      };
      asked += takes(first) || takes(second) ? 1 : 0;
    }
  }
  for (int e = 0; e < kModules; ++e) rows += modules.rows[e], flops += 10.0 * (e + 1) * modules.rows[e];
  EXPECT_EQ(rows, asked);
  EXPECT_EQ(use.rows, asked);
  EXPECT_EQ(use.flops, flops);
  EXPECT_LT(asked, first.plan.slots() + second.plan.slots()) << "some are asked for by both";

  const auto gradients = [&](const std::vector<at::Tensor>& outputs) {
    at::Tensor loss = (outputs[0].square().sum() + (outputs[1] * 3.0).sin().sum());
    loss.backward();
    std::vector<at::Tensor> out;
    for (at::Tensor leaf : {x, first_logits, second_logits, modules.weights[0], modules.weights[1], modules.weights[2],
                            modules.weights[3]}) {
      out.push_back(leaf.grad().clone());
      leaf.mutable_grad() = at::Tensor();
    }
    return out;
  };
  const std::vector<at::Tensor> mine = gradients(found);
  const RoutedUnits again = routed_by(first_logits, TopK{2}), second_again = routed_by(second_logits, Threshold{0.3f});
  const std::vector<at::Tensor> expected = {one_by_one(modules, x, again), one_by_one(modules, x, second_again)};
  for (std::size_t r = 0; r < 2; ++r) EXPECT_LE((found[r] - expected[r]).abs().max().item<double>(), 1e-12);
  const std::vector<at::Tensor> theirs = gradients(expected);
  for (std::size_t i = 0; i < mine.size(); ++i) {
    EXPECT_GT(theirs[i].abs().max().item<double>(), 1e-6) << i;
    EXPECT_LE((mine[i] - theirs[i]).abs().max().item<double>(), 1e-11) << i;
  }
}

TEST(ModuleExperts, NoUnitsAndUnitsWithoutExpertsAreLegal) {
  Modules modules(at::kFloat);
  for (const std::int64_t units : {0, 5}) {
    const at::Tensor x = at::randn({units, 2, 3});
    const RoutedUnits routed = routed_by(at::randn({units, kModules}), Threshold{2.0f});  // no share is so large
    const RoutedUnits* const routings[] = {&routed};
    ModuleUse use;
    const at::Tensor out = module_experts(x, modules.experts, routings, &use)[0];
    EXPECT_TRUE(at::equal(out, at::zeros({units, 2, 5})));
    EXPECT_EQ(use.rows, 0);
  }
}

TEST(ModuleExperts, WhatDoesNotFitIsRefused) {
  Modules modules(at::kFloat);
  const RoutedUnits routed = routed_by(at::randn({5, kModules}), TopK{1});
  const RoutedUnits* const routings[] = {&routed};
  EXPECT_THROW(module_experts(at::randn({4, 2, 3}), modules.experts, routings), c10::Error);
  EXPECT_THROW(module_experts(at::randn({5, 2, 3}), std::span(modules.experts).first(2), routings), c10::Error);
  std::vector<ModuleExpert> halving(kModules, {.run = [](const at::Tensor& x) { return x.narrow(0, 0, 0); }});
  EXPECT_THROW(module_experts(at::randn({5, 2, 3}), halving, routings), c10::Error);
}

}  // namespace
}  // namespace junto
