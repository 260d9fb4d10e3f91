#include "train/nn/recompute.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <string>
#include <vector>

#include "format/test_directory.h"
#include "train/loop/test_recipe.h"
#include "train/loop/trainer.h"

namespace junto {
namespace {

at::Tensor leaf(std::vector<double> values) {
  return at::tensor(values, at::kDouble).set_requires_grad(true);
}

TEST(Recomputed, GradientsReachInputsAndParametersOfASecondCall) {
  const at::Tensor weight = leaf({2, 3}), x = leaf({1, 4}), unused = leaf({5, 5});
  int calls = 0;
  const auto outs = recomputed(
      [&](const std::vector<at::Tensor>& in) {
        ++calls;
        EXPECT_EQ(at::GradMode::is_enabled(), calls == 2);
        return std::vector<at::Tensor>{in[0] * in[0] * weight, in[0].sum(), in[1] * 3};
      },
      {x * 1, unused * 1});
  EXPECT_EQ(calls, 1);
  EXPECT_TRUE(at::equal(outs[0].detach(), at::tensor({2.0, 48.0}, at::kDouble)));
  (outs[0].sum() + 10 * outs[1]).backward();
  EXPECT_EQ(calls, 2);
  EXPECT_TRUE(at::equal(weight.grad(), at::tensor({1.0, 16.0}, at::kDouble)));
  EXPECT_TRUE(at::equal(x.grad(), at::tensor({2.0 * 2 + 10, 2.0 * 4 * 3 + 10}, at::kDouble)));
  EXPECT_FALSE(unused.grad().defined() && unused.grad().abs().max().item<double>() > 0.0);
}

TEST(Recomputed, WithoutGradientsItIsOneCall) {
  int calls = 0;
  const auto body = [&](const std::vector<at::Tensor>& in) { return ++calls, std::vector<at::Tensor>{in[0] * 2}; };
  const at::NoGradGuard guard;
  EXPECT_FALSE(recomputed(body, {leaf({1})})[0].requires_grad());
  EXPECT_EQ(calls, 1);
}

Json recompute_recipe(const TestDirectory& directory, const std::vector<std::string>& settings) {
  Json json = small_recipe(
      directory, lines_to_learn(),
      {{"model", {{"hidden", 16}, {"layers", 3}, {"expert_width", 16}, {"router", {{"weigh", "renormalised"}}}}},
       {"batch", {{"micro_batches", 2}}},
       {"losses", {{"balance", 0.1}, {"z", 0.01}}}});
  for (const std::string& setting : settings) set_field(json, setting);
  return json;
}

// Everything that travels from block to block beside x.
TEST(Recomputed, TrainingIsTheSameToTheBit) {
  const std::vector<std::vector<std::string>> cases = {
      {},
      {"model.dense_layers=1", "model.dense_width=24", "model.shared_width=8", "losses.entropy=0.1"},
      {"model.rounds={\"count\":2}", "model.residual={\"rule\":\"heavy_ball\",\"look_ahead\":0.3}"},
      {"model.first_residual={\"rule\":\"adam_like\"}", "model.residual={\"rule\":\"heavy_ball\"}"},
      {"model.router_back=1", "model.router.selection_bias=true", "losses.bias_rate=0.01"},
      {"model.router.logit_residual=true", "model.free_experts={\"constant\":1,\"copy\":1,\"zero\":0}"},
      {"model.router_training={\"noise\":\"learned\"}", "losses.load=0.1", "losses.importance=0.1"},
      {"model.router.select={\"rule\":\"sparse_mixer\"}", "model.router.score=logit", "losses.balance=0"},
      {R"(adapters={"rank":2,"targets":["q_proj","o_proj"],"router":{"version":1,"experts":3,"select":{"rule":"top_p"}}})",
       "losses.entropy=0.1"},
      {"model.router.select={\"rule\":\"given\",\"k\":2}", "model.router.prune={\"rule\":\"capacity\",\"factor\":1}"},
  };
  for (const auto& settings : cases) {
    const TestDirectory directory;
    const std::string name = settings.empty() ? "plain" : settings.front();
    Json json = recompute_recipe(directory, settings);
    Trainer kept(parse_recipe(json, name));
    json["batch"]["recompute_activations"] = true;
    Trainer again(parse_recipe(json, name));
    for (int step = 0; step < 3; ++step) {
      const StepReport a = kept.train_step(), b = again.train_step();
      EXPECT_EQ(a.loss, b.loss) << name;
      EXPECT_EQ(a.gradient_norm, b.gradient_norm) << name;
      EXPECT_EQ(a.load, b.load) << name;
      EXPECT_EQ(a.adapter_experts, b.adapter_experts) << name;
      EXPECT_GT(b.work.work.experts, 1.3 * a.work.work.experts) << name;
      EXPECT_EQ(b.work.work.head, a.work.work.head) << name;
    }
    EXPECT_TRUE(at::equal(kept.model().parameters().gradients(), again.model().parameters().gradients())) << name;
    EXPECT_TRUE(at::equal(kept.model().parameters().values(), again.model().parameters().values())) << name;
  }
}

std::size_t allocated() {
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

TEST(Recomputed, ForwardHoldsBlocksInputsAlone) {
  LanguageModelShape shape;
  shape.hidden = 64;
  shape.layers = 8;
  shape.expert_width = 64;
  shape.router = {.experts = 8, .select = TopK{2}};
  const LanguageModel model(shape, 1);
  const at::Tensor tokens = at::arange(4 * 256, at::kLong).remainder(256).reshape({4, 256});
  const auto held = [&](LanguageModel::Activations activations) {
    const DrawPlace draws;
    const std::size_t before = allocated();
    const LanguageModel::Output out = model.forward(tokens, &draws, activations);
    return static_cast<double>(allocated() - before);
  };
  held(LanguageModel::Activations::kKept);  // first calls
  const double kept = held(LanguageModel::Activations::kKept), input = held(LanguageModel::Activations::kRecomputed);
  EXPECT_LT(input, 0.15 * kept) << input << " of " << kept;
}

}  // namespace
}  // namespace junto
