// What stages and ramps do to routers and experts in mid-run: EvoMoE's schedule (arXiv 2112.14397) and the shifted
// gates of Pre-gated MoE (arXiv 2308.12066).
#include "train/loop/stages.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "format/test_directory.h"
#include "train/loop/test_recipe.h"
#include "train/loop/trainer.h"
#include "train/reproduce/measure.h"

namespace junto {
namespace {

Json staged_recipe(const TestDirectory& directory) {
  std::string text;
  for (int i = 0; i < 40; ++i)
    text += "a stage of a play, number " + std::to_string(i % 7) + ", ends where the next one begins\n";
  const Json soft = {{"noise", "gumbel"},
                     {"noisy_weights", false},
                     {"temperature", 2.0},
                     {"select", {{"rule", "threshold"}, {"threshold", 0.001}, {"min_k", 1}}}};
  return small_recipe(directory, text,
                      {{"name", "staged"},
                       {"seed", 4},
                       {"model", {{"heads", 4}, {"router", {{"experts", 1}, {"select", {{"k", 1}}}}}}},
                       {"data", {{"validation_share", 0.2}}},
                       {"batch", {{"length", 24}}},
                       {"losses", {{"balance", 0.01}}},
                       {"optimizer", {{"learning_rate", 0.01}}},
                       {"schedule", {{"steps", 40}, {"warmup_steps", 5}}},
                       {"stages",
                        {{{"from", 0.2},
                          {"experts", 8},
                          {"diversity", {{"kind", "mask"}, {"amount", 0.3}, {"new_routers", true}}},
                          {"router_training", soft}},
                         {{"from", 0.6}, {"router_training", {{"noise", "gumbel"}, {"noisy_weights", false}}}}}},
                       {"ramps", {{"router_training.temperature", {{"exponential", {{0.2, 2.0}, {0.6, 0.02}}}}}}}});
}

/// The model's experts per token and layer of a step.
double visited(const StepReport& report) {
  return static_cast<double>(report.work.expert_rows) / (4 * 24 * 2);
}

TEST(Stages, VisitedExpertsFallFromAllToOne) {
  const TestDirectory directory;
  Trainer trainer(parse_recipe(staged_recipe(directory), "recipe"));
  std::vector<double> by_step;
  while (!trainer.done()) by_step.push_back(visited(trainer.train_step()));
  for (int step = 0; step < 8; ++step) EXPECT_EQ(by_step[step], 1.0) << step;  // one expert
  EXPECT_GT(by_step[8], 7.5);                                                  // nearly all of eight
  EXPECT_LT(by_step[23], 2.0);                                                 // the gate is nearly hard
  EXPECT_LT(by_step[16], by_step[8]);
  for (int step = 24; step < 40; ++step) EXPECT_EQ(by_step[step], 1.0) << step;
  EXPECT_EQ(trainer.model().shape().router.experts, 8);
}

/// The distance of two experts of a layer, mean over all pairs.
double distance_of_experts(const LanguageModel& model) {
  const at::Tensor rows = model.blocks()[1].expert_down.detach().reshape({8, -1});
  return at::pdist(rows).mean().item<double>();
}

// Masked copies part. Exact copies whose router rows are alike too stay what they are: every expert is visited, weighs
// the same and has the same gradient.
TEST(Stages, MaskedCopiesPartAndExactOnesUnderAnEvenGateDoNot) {
  const TestDirectory directory;
  Json json = staged_recipe(directory);
  Trainer masked(parse_recipe(json, "recipe"));
  json["stages"][0].erase("diversity");
  json["stages"][0]["router_training"]["select"]["threshold"] = 0.0;
  Trainer copied(parse_recipe(json, "recipe"));
  while (masked.step() < 9) masked.train_step(), copied.train_step();
  EXPECT_NEAR(expert_cosine(masked.model()), 0.7, 0.05);  // two of ten weights are 0 in one of two: 0.49 / 0.7
  EXPECT_GT(expert_cosine(copied.model()), 0.999);
  const double spawned = distance_of_experts(masked.model());
  while (masked.step() < 24) masked.train_step(), copied.train_step();
  EXPECT_GT(distance_of_experts(masked.model()), spawned);
  EXPECT_GT(expert_cosine(copied.model()), 0.999);
}

// Soft routing over exact copies, whose weights add up to 1, is the one expert that they are copies of.
TEST(Stages, CopiesUnderASoftGateAreTheExpertTheyComeFrom) {
  const TestDirectory directory;
  Json json = staged_recipe(directory);
  json["stages"][0]["diversity"]["kind"] = "copy";
  json["stages"][0]["router_training"]["select"]["threshold"] = 0.0;
  Trainer trainer(parse_recipe(json, "recipe"));
  for (int step = 0; step < 8; ++step) trainer.train_step();
  LanguageModelShape shape = trainer.model().shape();
  shape.router.experts = 8;
  shape.router.select = TopK{8};
  Optimizer optimizer({}, trainer.model().parameters());
  optimizer.first.fill_(2.0f);
  optimizer.second.fill_(3.0f);
  const auto grown = grown_model(trainer.model(), shape, 1, optimizer, {.new_routers = true});
  at::NoGradGuard guard;
  const at::Tensor ids = at::tensor({5, 6, 7, 8, 9, 10}, at::kLong).reshape({1, -1});
  EXPECT_LE((grown->forward(ids).logits - trainer.model().forward(ids).logits).abs().max().item<float>(), 1e-4f);
  for (const Parameter& parameter : grown->parameters().all()) {
    const bool router = parameter.name.find("ffn_gate_inp") != std::string::npos;
    const auto moment = [&](const at::Tensor& flat) {
      return flat.narrow(0, parameter.offset, parameter.value.numel()).max().item<float>();
    };
    EXPECT_EQ(moment(optimizer.first), router ? 0.0f : 2.0f) << parameter.name;
    EXPECT_EQ(moment(optimizer.second), router ? 0.0f : 3.0f) << parameter.name;
    if (router) {
      EXPECT_GT(parameter.value.std(0).min().item<float>(), 1e-4f) << "rows differ";
    }
  }
}

TEST(Stages, EveryKindOfDiversityChangesItsShare) {
  const TestDirectory directory;
  const Trainer trainer(parse_recipe(staged_recipe(directory), "recipe"));
  LanguageModelShape shape = trainer.model().shape();
  shape.router.experts = 4;
  const at::NoGradGuard guard;
  const at::Tensor base = trainer.model().blocks()[0].expert_down[0];
  using Kind = Diversity::Kind;
  for (const Kind kind : {Kind::kCopy, Kind::kMask, Kind::kNoise, Kind::kRedraw}) {
    Optimizer optimizer({}, trainer.model().parameters());
    const auto grown = grown_model(trainer.model(), shape, 3, optimizer, {.kind = kind, .amount = 0.25f});
    const at::Tensor& experts = grown->blocks()[0].expert_down;
    for (int e = 0; e < 4; ++e) {
      const double changed = (experts[e] != base).to(at::kDouble).mean().item<double>();
      EXPECT_NEAR(changed, kind == Kind::kCopy ? 0.0 : kind == Kind::kNoise ? 1.0 : 0.25, 0.06);
      EXPECT_EQ(experts[e].equal(experts[0]), kind == Kind::kCopy || e == 0);
    }
    const double zeros = (experts == 0).to(at::kDouble).mean().item<double>();
    EXPECT_NEAR(zeros, kind == Kind::kMask ? 0.25 : 0.0, 0.05);
    if (kind == Kind::kNoise) {
      EXPECT_NEAR(((experts[1] - base).std() / base.std()).item<double>(), 0.25, 0.03);
    }
  }
}

TEST(Stages, ARunThatGoesOnInAnyStageIsTheSameToTheBit) {
  const TestDirectory directory;
  Json json = staged_recipe(directory);
  json["model"]["layers"] = 3;
  json["stages"].push_back({{"from", 0.8}, {"router_back", 1}});
  json["optimizer"]["average"] = 0.9;
  Trainer whole(parse_recipe(json, "recipe"));
  std::vector<std::string> saved;
  while (!whole.done()) {
    whole.train_step();
    if (whole.step() == 6 || whole.step() == 15 || whole.step() == 30 || whole.step() == 34) {
      saved.push_back(directory.path("at-" + std::to_string(whole.step())));
      whole.save(saved.back());
    }
  }
  EXPECT_EQ(whole.model().shape().router_back, 1);
  for (const std::string& path : saved) {
    Trainer again(parse_recipe(json, "recipe"));
    again.load(path);
    while (!again.done()) again.train_step();
    EXPECT_TRUE(at::equal(whole.model().parameters().values(), again.model().parameters().values())) << path;
    EXPECT_EQ(to_json(whole.ledger()), to_json(again.ledger()));
  }
}

// Shifting gates moves no parameter: what differs is what a router reads.
TEST(Stages, ShiftedGatesAreTheSameRoutersReadingALayerBelow) {
  const TestDirectory directory;
  Json json = staged_recipe(directory);
  json["model"]["layers"] = 3;
  json["model"]["router"]["experts"] = 4;
  json.erase("ramps");
  json["stages"] = {{{"from", 0.5}, {"router_back", 1}, {"freeze", {"*"}}}};
  Trainer trainer(parse_recipe(json, "recipe"));
  while (trainer.step() < 20) trainer.train_step();
  const at::Tensor before = trainer.model().parameters().values().clone();
  const double loss = trainer.evaluate();
  trainer.train_step();
  EXPECT_TRUE(before.equal(trainer.model().parameters().values()));
  EXPECT_EQ(trainer.model().shape().router_back, 1);
  EXPECT_NE(trainer.evaluate(), loss);
  const at::Tensor ids = at::tensor({5, 6, 7, 8, 9, 10}, at::kLong).reshape({1, -1});
  const at::NoGradGuard guard;
  // With the first router's matrix the second one says the same: it reads what the first one reads.
  const auto& blocks = trainer.model().blocks();
  at::Tensor second = blocks[1].routers[0].logits;
  EXPECT_FALSE(
      at::allclose(trainer.model().forward(ids).routed[1].logits, trainer.model().forward(ids).routed[0].logits));
  second.copy_(blocks[0].routers[0].logits);
  const auto routed = trainer.model().forward(ids).routed;
  EXPECT_TRUE(at::equal(routed[1].logits, routed[0].logits));
}

// DynMoLE's schedule (arXiv 2504.00661) on LoRA experts beside a network that is frozen.
TEST(Stages, AdaptersTrainBesideABaseThatStays) {
  const TestDirectory directory;
  Json json = staged_recipe(directory);
  json["model"]["shared_width"] = 32;
  json["model"]["expert_width"] = 4;
  json["model"]["activation"] = {{"kind", "identity"}, {"gated", false}};
  json["model"]["router"] = {{"version", 1},
                             {"experts", 6},
                             {"select", {{"rule", "top_p"}, {"p", 0.75}, {"inclusive", false}, {"min_k", 2}}},
                             {"entropy_override", {{"kind", "tsallis"}, {"order", 1.1}, {"threshold", 0.9}}}};
  json["stages"] =
      Json::array({{{"from", 0.0}, {"freeze", {"*_exps.*", "*ffn_gate_inp*"}}},
                   {{"from", 0.25},
                    {"freeze", {"token_embd.*", "*norm*", "*attn*", "*.ffn_gate_up.weight", "*.ffn_down.weight"}}}});
  json["losses"] = {{"balance", 0.0}, {"entropy_kind", "tsallis"}, {"entropy_order", 1.1}};
  json["optimizer"]["learning_rate"] = 0.002;
  std::vector<double> last;
  for (const double entropy : {0.0, 1.0}) {
    json["ramps"] = {{"losses.entropy", {{0.25, 0.0}, {0.26, entropy}}}};
    Trainer trainer(parse_recipe(json, "recipe"));
    const auto& block = trainer.model().blocks()[1];
    EXPECT_EQ(visited(trainer.train_step()), 6.0);  // an undecided gate: all of them
    while (trainer.step() < 10) trainer.train_step();
    EXPECT_EQ(block.expert_down.abs().max().item<float>(), 0.0f);
    const at::Tensor base = block.gate_up.detach().clone(), query = block.q.detach().clone();
    StepReport report;
    while (!trainer.done()) report = trainer.train_step();
    EXPECT_TRUE(at::equal(base, block.gate_up) && at::equal(query, block.q));
    EXPECT_GT(block.expert_down.abs().max().item<float>(), 1e-3f);
    last.push_back(visited(report));
  }
  EXPECT_GT(last[0], 5.5);
  EXPECT_LT(last[1], 4.0);
}

TEST(Ramps, AreStraightOrExponential) {
  Ramp ramp{.field = "x", .points = {{0.2, 2.0}, {0.6, 0.02}}};
  EXPECT_DOUBLE_EQ(value_at(ramp, 0.4), 1.01);
  ramp.exponential = true;
  EXPECT_DOUBLE_EQ(value_at(ramp, 0.0), 2.0);
  EXPECT_NEAR(value_at(ramp, 0.4), 0.2, 1e-12);
  EXPECT_DOUBLE_EQ(value_at(ramp, 0.9), 0.02);
}

TEST(Stages, ErrorsNameTheField) {
  const TestDirectory directory;
  const auto error_with = [&](const std::vector<std::string>& assignments) -> std::string {
    Json json = staged_recipe(directory);
    for (const std::string& one : assignments) set_field(json, one);
    try {
      parse_recipe(json, "r");
    } catch (const Error& error) {
      return error.what();
    }
    return "valid";
  };
  const auto expect = [&](const std::string& assignment, const std::string& part) {
    const std::string found = error_with({assignment});
    EXPECT_NE(found.find(part), std::string::npos) << found;
  };
  EXPECT_EQ(error_with({}), "valid");
  expect(R"(stages=[{"from":0.5,"diversity":{"kind":"mask"}}])", "expected nothing where experts do not grow");
  expect(R"(stages=[{"experts":2,"diversity":{"kind":"maks"}}])", "mask");
  expect(R"(stages=[{"router_training":{"noise":"learned"}}])", "expected what the model has");
  expect(R"(ramps={"router_training.temperature":{"exponential":[[0,0]]}})", "values above 0");
  expect(R"(ramps={"router_training.temperature":[[0,0]]})", "temperature");
  expect(R"(model.router_training={"balanced":true,"select":{"rule":"top_k","k":1}})", "balanced");
}

}  // namespace
}  // namespace junto
