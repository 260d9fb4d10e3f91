#include "train/loop/trainer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/file.h"
#include "format/test_directory.h"
#include "train/loop/test_recipe.h"

namespace junto {
namespace {

Json recipe_json(const TestDirectory& directory) {
  std::string text;
  for (int i = 0; i < 40; ++i)
    text += "the quick brown fox number " + std::to_string(i % 7) + " jumps over the lazy dog\n";
  return small_recipe(
      directory, text,
      {{"name", "test"},
       {"seed", 4},
       {"model", {{"heads", 4}, {"kv_heads", 2}, {"head_dim", 8}, {"router", {{"weigh", "renormalised"}}}}},
       {"data", {{"validation_share", 0.2}}},
       {"batch", {{"length", 24}}},
       {"losses", {{"balance", 0.01}, {"z", 0.001}}},
       {"optimizer", {{"learning_rate", 0.01}}},
       {"schedule", {{"steps", 60}, {"warmup_steps", 5}}}});
}

at::Tensor tokens(std::vector<std::int64_t> ids, std::int64_t sequences) {
  return at::tensor(ids, at::kLong).reshape({sequences, -1});
}

TEST(LanguageModel, ALaterTokenChangesNothingEarlierAndANeighbourNothing) {
  const TestDirectory directory;
  const Trainer trainer(parse_recipe(recipe_json(directory), "recipe"));
  at::NoGradGuard guard;
  const at::Tensor one = trainer.model().forward(tokens({5, 6, 7, 8, 9, 10}, 1)).logits;
  const at::Tensor other = trainer.model().forward(tokens({5, 6, 7, 8, 200, 100}, 1)).logits;
  EXPECT_LE((one - other).narrow(0, 0, 4).abs().max().item<float>(), 1e-6f);
  EXPECT_GT((one - other).narrow(0, 4, 2).abs().max().item<float>(), 1e-4f);
  const at::Tensor both = trainer.model().forward(tokens({5, 6, 7, 8, 9, 10, 1, 2, 3, 4, 5, 6}, 2)).logits;
  EXPECT_LE((both.narrow(0, 0, 6) - one).abs().max().item<float>(), 1e-6f);
}

// Along its own gradient the loss must change as the gradient says.
void expect_slopes(const Json& json) {
  Trainer trainer(parse_recipe(json, "recipe"));
  for (int step = 0; step < 5; ++step) trainer.train_step();  // away from the flat beginning
  LanguageModel model(trainer.recipe().model, 4);
  model.parameters().values().copy_(trainer.model().parameters().values());
  for (LanguageModel::Block& block : model.blocks()) {  // which begins at 0
    for (LinearAdapter& adapter : block.adapters) {
      if (adapter.b.defined()) adapter.b.detach().normal_(0.0, 0.05);
    }
  }
  const TokenBatch batch = draw_batch(trainer.text().train, 4, 24, 1, 1);
  const auto loss = [&] {
    return at::cross_entropy_loss(model.forward(batch.inputs).logits.to(at::kDouble), batch.targets.reshape({-1}));
  };
  model.parameters().clear_gradients();
  loss().backward();
  model.parameters().finish_gradients();
  at::NoGradGuard guard;
  for (const Parameter& parameter : model.parameters().all()) {
    const at::Tensor gradient = parameter.value.grad().clone(), values = parameter.value.detach().clone();
    const double squares = gradient.to(at::kDouble).square().sum().item<double>();
    ASSERT_GT(squares, 0.0) << parameter.name;
    const double step =
        2e-3 / std::sqrt(squares) * std::sqrt(static_cast<double>(values.numel())) * values.abs().mean().item<double>();
    parameter.value.detach().copy_(values + gradient * step);
    const double above = loss().item<double>();
    parameter.value.detach().copy_(values - gradient * step);
    const double below = loss().item<double>();
    parameter.value.detach().copy_(values);
    EXPECT_NEAR((above - below) / (2 * step), squares, 0.03 * squares + 2e-7 / step) << parameter.name;
  }
}

TEST(LanguageModel, EveryParametersGradientIsTheSlopeOfTheLoss) {
  const TestDirectory directory;
  Json json = recipe_json(directory);
  json["model"]["router"]["select"]["k"] = 4;  // all: a step in the router would change the choice
  json["model"]["router"]["weigh"] = "raw";
  expect_slopes(json);
  json["model"]["norm"] = "layer";
  expect_slopes(json);
  json["model"]["dense_layers"] = 2;
  json["model"]["dense_width"] = 32;
  json["adapters"] = {
      {"rank", 2},
      {"from", 0.1},
      {"targets", {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}},
      {"router", {{"version", 1}, {"experts", 3}, {"select", {{"rule", "top_k"}, {"k", 3}}}, {"weigh", "raw"}}}};
  expect_slopes(json);
}

TEST(Trainer, LearnsASimpleText) {
  const TestDirectory directory;
  Trainer trainer(parse_recipe(recipe_json(directory), "recipe"));
  const double before = trainer.evaluate();
  EXPECT_NEAR(before, std::log(257.0), 0.3);
  StepReport last;
  while (!trainer.done()) last = trainer.train_step();
  EXPECT_LT(trainer.evaluate(), 0.6 * before);
  EXPECT_EQ(last.step, 60);
  EXPECT_EQ(trainer.ledger().tokens, 60 * 4 * 24);
  EXPECT_EQ(trainer.ledger().expert_rows, 60 * 4 * 24 * 2 * 2);
  EXPECT_GE(last.busiest, 1.0);
}

TEST(Trainer, GoesOnFromACheckpointToTheBit) {
  const TestDirectory directory;
  Json json = recipe_json(directory);
  json["model"]["router"]["score"] = "sigmoid";
  json["model"]["router"]["selection_bias"] = true;
  json["losses"]["bias_rate"] = 0.01;
  Trainer whole(parse_recipe(json, "recipe")), first(parse_recipe(json, "recipe")),
      second(parse_recipe(json, "recipe"));
  for (int step = 0; step < 7; ++step) whole.train_step();
  for (int step = 0; step < 5; ++step) first.train_step();
  const std::string path = directory.path("checkpoint.safetensors");
  first.save(path);
  second.load(path);
  EXPECT_EQ(second.step(), 5);
  for (int step = 5; step < 7; ++step) second.train_step();
  EXPECT_TRUE(at::equal(whole.model().parameters().values(), second.model().parameters().values()));
  for (std::size_t layer = 0; layer < 2; ++layer) {
    const at::Tensor& bias = whole.model().blocks()[layer].routers[0].selection_bias;
    EXPECT_TRUE(at::equal(bias, second.model().blocks()[layer].routers[0].selection_bias));
    EXPECT_GT(bias.abs().max().item<float>(), 0.0f);
  }
  EXPECT_EQ(to_json(whole.ledger()), to_json(second.ledger()));
  json["optimizer"]["learning_rate"] = 0.02;
  Trainer other(parse_recipe(json, "recipe"));
  EXPECT_NE(error_of([&] { other.load(path); }).find("/optimizer/learning_rate differs"), std::string::npos);
}

// Every arm of an experiment spends the same budget and is decayed at its end, however dear its steps.
TEST(Trainer, ABudgetOfOperationsEndsTheRunDecayed) {
  const TestDirectory directory;
  Json json = recipe_json(directory);
  json["schedule"] = {{"flops", 3e8}, {"warmup_share", 0.1}, {"final_share", 0.1}};
  std::vector<std::int64_t> steps;
  for (const int k : {1, 4}) {
    json["model"]["router"]["select"]["k"] = k;
    Trainer trainer(parse_recipe(json, "recipe"));
    std::vector<double> rates;
    double spent = 0.0;
    while (!trainer.done()) {
      const StepReport report = trainer.train_step();
      rates.push_back(report.learning_rate);
      spent += report.work.flops;
      EXPECT_EQ(report.work.expert_rows, 4 * 24 * 2 * k);
    }
    EXPECT_NEAR(spent, trainer.ledger().flops, 1e-6 * spent);
    EXPECT_GE(spent, 3e8);
    EXPECT_LT(spent, 3e8 * (1.0 + 2.0 / static_cast<double>(rates.size())));
    EXPECT_NEAR(*std::max_element(rates.begin(), rates.end()), 0.01, 5e-4);
    EXPECT_LT(rates.back(), 0.0015);
    EXPECT_LT(rates.front(), 0.008);
    steps.push_back(trainer.step());
  }
  EXPECT_GT(steps[0], steps[1] + 3);
}

// One dense layer small enough to count by hand.
TEST(Ledger, CountsWhatIsExecuted) {
  LanguageModelShape shape;
  shape.vocabulary = 10;
  shape.hidden = 4;
  shape.layers = 2;
  shape.heads = 2;
  shape.kv_heads = 1;
  shape.head_dim = 2;
  shape.dense_layers = 1;
  shape.dense_width = 3;
  shape.expert_width = 5;
  shape.router.experts = 6;
  const Ledger work = work_of_batch(shape, 8, 4, 7, 3);
  EXPECT_EQ(work.work.attention, 3 * 8 * 2 * (2 * 4 * (4 + 2 + 2 + 4) + 4 * 4 * 4));  // q, k, v, output; 4 keys
  EXPECT_EQ(work.work.router, 3 * 8 * 2 * 4 * 6);
  EXPECT_EQ(work.work.experts, 3 * 7 * 2 * 3 * 4 * 5);
  EXPECT_EQ(work.work.dense, 3 * 8 * 2 * 3 * 4 * 3);
  EXPECT_EQ(work.work.head, 3 * 8 * 2 * 4 * 10);
  EXPECT_EQ(work.bytes, 12.0 * (2 * 4 * 12 + 3 * 4 * 3 + 40 + 24 + 3 * 3 * 4 * 5));
  EXPECT_EQ(to_json(ledger_from(to_json(work))), to_json(work));
  // Three pairs of rank 2 and a router on q [4, 4] and k [2, 4]; under them no gradients of matrices.
  shape.adapters = AdapterShape{.rank = 2, .router = RouterSpec{.experts = 3}, .targets = {true, true}};
  const Ledger adapted = work_of_batch(shape, 8, 4, 7, 3, /*recomputed=*/false, /*adapting=*/true);
  EXPECT_EQ(adapted.work.attention, 8 * 2 * (2 * 2 * 4 * (4 + 2 + 2 + 4) + 3 * 4 * 4 * 4));
  EXPECT_EQ(adapted.work.router, 2 * 8 * 2 * 4 * 6 + 3 * 8 * 2 * 2 * (2 * 3 * 4));
  EXPECT_EQ(adapted.work.experts, work.work.experts + 3 * 8 * 2 * 2 * (3 * 2 * (4 + 4) + 3 * 2 * (2 + 4)));
  EXPECT_EQ(adapted.work.dense, 2 * 8 * 2 * 3 * 4 * 3);
  EXPECT_EQ(adapted.work.head, 2 * 8 * 2 * 4 * 10);
  EXPECT_EQ(work_of_batch(shape, 8, 4, 7, 3).flops, work.flops);
  EXPECT_GT(work_of_update({}, 100).work.optimizer, 1000.0);
}

TEST(Trainer, AStageFreezesAndARampMoves) {
  const TestDirectory directory;
  Json json = recipe_json(directory);
  json["schedule"]["steps"] = 10;
  json["stages"] = {{{"from", 0.2}, {"freeze", {"blk.*.attn_*", "token_embd.weight"}}},
                    {{"from", 0.6}, {"freeze", Json::array()}}};
  json["ramps"] = {{"losses.balance", {{0.0, 0.5}, {0.5, 0.0}}}};
  Trainer trainer(parse_recipe(json, "recipe"));
  const auto values = [&](const char* name) {
    for (const Parameter& parameter : trainer.model().parameters().all()) {
      if (parameter.name == name) return parameter.value.detach().clone();
    }
    return at::Tensor();
  };
  for (int step = 0; step < 10; ++step) {
    const at::Tensor frozen = values("blk.1.attn_q.weight"), moving = values("blk.1.ffn_gate_inp.weight");
    const StepReport report = trainer.train_step();
    EXPECT_EQ(at::equal(frozen, values("blk.1.attn_q.weight")), step >= 2 && step < 6) << step;
    EXPECT_FALSE(at::equal(moving, values("blk.1.ffn_gate_inp.weight"))) << step;
    EXPECT_EQ(report.balance > 0.0, step < 5) << step;
  }
}

// Copies of experts under a router that gives each copy half: the function stays what it was.
TEST(Trainer, GrownExpertsBeginAsCopiesWithTheirMoments) {
  const TestDirectory directory;
  Json json = recipe_json(directory);
  json["optimizer"]["average"] = 0.9;
  json["model"]["router"]["select"]["k"] = 4;
  json["stages"] = {{{"from", 0.5}, {"experts", 8}, {"router", json["model"]["router"]}}};
  json["stages"][0]["router"]["experts"] = 8;
  json["stages"][0]["router"]["select"]["k"] = 8;
  Trainer trainer(parse_recipe(json, "recipe"));
  for (int step = 0; step < 30; ++step) trainer.train_step();
  const double before = trainer.evaluate();
  LanguageModelShape shape = trainer.model().shape();
  shape.router.experts = 8;
  shape.router.select = TopK{8};
  Optimizer optimizer({}, trainer.model().parameters());
  optimizer.first.copy_(trainer.model().parameters().values());
  const std::unique_ptr<LanguageModel> grown = grown_model(trainer.model(), shape, 1, optimizer);
  at::NoGradGuard guard;
  const at::Tensor ids = tokens({5, 6, 7, 8, 9, 10}, 1);
  EXPECT_LE((grown->forward(ids).logits - trainer.model().forward(ids).logits).abs().max().item<float>(), 1e-4f);
  for (const Parameter& parameter : grown->parameters().all()) {
    const at::Tensor moment = optimizer.first.narrow(0, parameter.offset, parameter.value.numel());
    EXPECT_LE((moment - parameter.value.detach().reshape({-1})).abs().max().item<float>(), 1e-5f) << parameter.name;
  }
  at::AutoGradMode enable(true);
  trainer.train_step();
  EXPECT_EQ(trainer.model().shape().router.experts, 8);
  EXPECT_NEAR(trainer.evaluate(), before, 0.1);
  while (!trainer.done()) trainer.train_step();
  EXPECT_LT(trainer.evaluate(), before);
}

TEST(Trainer, StopsEarlyWhereValidationGetsNoBetter) {
  const TestDirectory directory;
  Json json = recipe_json(directory);
  json["schedule"]["patience"] = 2;
  Trainer trainer(parse_recipe(json, "recipe"));
  for (const double loss : {3.0, 2.0, 2.5}) trainer.note_validation(loss);
  EXPECT_FALSE(trainer.done());
  trainer.note_validation(1.9);
  trainer.note_validation(1.95);
  EXPECT_FALSE(trainer.done());
  trainer.note_validation(1.9);
  EXPECT_TRUE(trainer.done());
  const std::string path = directory.path("checkpoint.safetensors");
  trainer.save(path);
  Trainer other(parse_recipe(json, "recipe"));
  other.load(path);
  EXPECT_TRUE(other.done());
}

TEST(Trainer, MicroBatchesAddUpToTheBatch) {
  const TestDirectory directory;
  Json json = recipe_json(directory);
  json["losses"] = {{"balance", 0.0}, {"z", 0.0}};  // means over a batch, which parts do not have
  Trainer whole(parse_recipe(json, "recipe"));
  json["batch"]["micro_batches"] = 4;
  Trainer parts(parse_recipe(json, "recipe"));
  const StepReport a = whole.train_step(), b = parts.train_step();
  EXPECT_NEAR(a.loss, b.loss, 1e-6);
  EXPECT_NEAR(a.gradient_norm, b.gradient_norm, 1e-5 * a.gradient_norm);
}

TEST(Trainer, ANanStopsWithTheStepAndItsBatch) {
  const TestDirectory directory;
  Json json = recipe_json(directory);
  json["run"]["folder"] = directory.path();
  Trainer trainer(parse_recipe(json, "recipe"));
  trainer.train_step();
  trainer.model().output_norm().detach().fill_(std::nanf(""));
  EXPECT_NE(error_of([&] { trainer.train_step(); }).find("step 2: loss is nan"), std::string::npos);
  EXPECT_TRUE(std::filesystem::exists(directory.path("diverged.safetensors")));
}

TEST(Recipe, ErrorsNameTheField) {
  const TestDirectory directory;
  const Json good = recipe_json(directory);
  const auto error_with = [&](const std::string& assignment) {
    Json json = good;
    set_field(json, assignment);
    return error_of([&] { parse_recipe(json, "r.json"); });
  };
  EXPECT_EQ(error_with("seed=5"), "no error");
  EXPECT_NE(error_with("model.hiden=5").find("r.json: model: "), std::string::npos);
  EXPECT_NE(error_with("model.hiden=5").find("hidden"), std::string::npos);
  EXPECT_NE(error_with("model.routed_layers=[0]").find("dense_width is 0, expected the width of dense layers"),
            std::string::npos);
  for (const char* wrong : {"[1,0]", "[9]", "[0.5]", "1"}) {
    EXPECT_NE(error_with(std::string("model.routed_layers=") + wrong)
                  .find(std::string("routed_layers is ") + wrong + ", expected numbers of layers, 0..1, ascending"),
              std::string::npos);
  }
  EXPECT_NE(error_with("model.kv_heads=3").find("kv_heads is 3, expected a divisor of 4"), std::string::npos);
  EXPECT_NE(error_with("model.router.experts=0").find("experts"), std::string::npos);
  EXPECT_NE(error_with("batch.length=33").find("batch.length is 33, expected 1..32"), std::string::npos);
  EXPECT_NE(error_with("batch.micro_batches=3").find("micro_batches is 3, expected a divisor of 4"), std::string::npos);
  EXPECT_NE(error_with("losses.bias_rate=0.1").find("bias_rate"), std::string::npos);
  EXPECT_NE(error_with("optimizer.learning_rate=fast").find("learning_rate"), std::string::npos);
  EXPECT_NE(error_with("schedule.kind=cosinus").find("cosine"), std::string::npos);
  EXPECT_NE(error_with("run.folder=3").find("folder is 3"), std::string::npos);
  EXPECT_NE(error_with("schedule.warmup_share=0.1").find("warmup_share is set"), std::string::npos);
  EXPECT_NE(error_with("optimizer.kind=adam").find("adamw"), std::string::npos);
  EXPECT_NE(error_with(R"(stages=[{"from":0.5},{"from":0.5}])").find("stages[1]: from is 0.5, expected more"),
            std::string::npos);
  EXPECT_NE(error_with(R"(stages=[{"experts":3}])").find("experts is 3, expected at least 4"), std::string::npos);
  EXPECT_NE(error_with(R"(ramps={"losses.balanc":[[0,1]]})").find("losses.balance"), std::string::npos);
  EXPECT_NE(error_with(R"(ramps={"losses.balance":[[0.5,1],[0.4,1]]})").find("ascending"), std::string::npos);
  EXPECT_NE(error_with(R"(ramps={"optimizer.beta1":[[0.5,2]]})").find("ramps: optimizer: beta1 is 2"),
            std::string::npos);
  EXPECT_NE(error_with("version=2").find("version is 2, this build reads version 1"), std::string::npos);
  Json json = good;
  EXPECT_NE(error_of([&] { set_field(json, "seed.x=1"); }).find("--set seed.x=1"), std::string::npos);
  EXPECT_NE(error_of([&] { set_field(json, "seed"); }).find("expected FIELD.FIELD=VALUE"), std::string::npos);
}

TEST(Recipe, ThoseInTheRepositoryAreValid) {
  int found = 0;
  const std::string list = JUNTO_SOURCE_DIR "/train/data/texts.json";
  const Json texts = parse_json(read_text_file(list, 1 << 20), list);
  for (const auto& entry : std::filesystem::directory_iterator(JUNTO_SOURCE_DIR "/recipes")) {
    const std::string path = entry.path().string();
    if (path.ends_with(".schema.json")) continue;
    const Recipe recipe = parse_recipe(parse_json(read_text_file(path, 1 << 20), path), path);
    for (const TextSource& source : recipe.data.files) {
      const std::string& file = source.path;
      if (file.starts_with("cache:")) {  // a text that scripts/fetch-data brings, or its trace
        EXPECT_TRUE(texts.contains(std::filesystem::path(file).stem().string())) << file;
      } else {
        EXPECT_TRUE(std::filesystem::exists(JUNTO_SOURCE_DIR "/" + file)) << file;
      }
    }
    ++found;
  }
  EXPECT_GT(found, 0);
}

}  // namespace
}  // namespace junto
