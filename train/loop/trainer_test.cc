#include "train/loop/trainer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "base/file.h"
#include "format/test_directory.h"

namespace junto {
namespace {

Json recipe_json(const TestDirectory& directory) {
  std::string text;
  for (int i = 0; i < 40; ++i)
    text += "the quick brown fox number " + std::to_string(i % 7) + " jumps over the lazy dog\n";
  return {{"version", 1},
          {"name", "test"},
          {"seed", 4},
          {"model",
           {{"hidden", 32},
            {"layers", 2},
            {"heads", 4},
            {"kv_heads", 2},
            {"head_dim", 8},
            {"context", 32},
            {"expert_width", 32},
            {"router",
             {{"version", 1}, {"experts", 4}, {"select", {{"rule", "top_k"}, {"k", 2}}}, {"weigh", "renormalised"}}}}},
          {"data", {{"files", {directory.put("text", text)}}, {"separator", "\n"}, {"validation_share", 0.2}}},
          {"batch", {{"sequences", 4}, {"length", 24}}},
          {"losses", {{"balance", 0.01}, {"z", 0.001}}},
          {"optimizer", {{"learning_rate", 0.01}}},
          {"schedule", {{"steps", 60}, {"warmup_steps", 5}}},
          {"run", {{"folder", directory.path("run")}}}};
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
TEST(LanguageModel, EveryParametersGradientIsTheSlopeOfTheLoss) {
  const TestDirectory directory;
  Json json = recipe_json(directory);
  json["model"]["router"]["select"]["k"] = 4;  // all: a step in the router would change the choice
  json["model"]["router"]["weigh"] = "raw";
  Trainer trainer(parse_recipe(json, "recipe"));
  for (int step = 0; step < 5; ++step) trainer.train_step();  // away from the flat beginning
  LanguageModel model(trainer.recipe().model, 4);
  model.parameters().values().copy_(trainer.model().parameters().values());
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
    const at::Tensor& bias = whole.model().blocks()[layer].selection_bias;
    EXPECT_TRUE(at::equal(bias, second.model().blocks()[layer].selection_bias));
    EXPECT_GT(bias.abs().max().item<float>(), 0.0f);
  }
  EXPECT_EQ(whole.ledger().flops, second.ledger().flops);
  json["optimizer"]["learning_rate"] = 0.02;
  Trainer other(parse_recipe(json, "recipe"));
  EXPECT_NE(error_of([&] { other.load(path); }).find("/optimizer/learning_rate differs"), std::string::npos);
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
  EXPECT_NE(error_with("model.kv_heads=3").find("kv_heads is 3, expected a divisor of 4"), std::string::npos);
  EXPECT_NE(error_with("model.router.experts=0").find("experts"), std::string::npos);
  EXPECT_NE(error_with("batch.length=33").find("batch.length is 33, expected 1..32"), std::string::npos);
  EXPECT_NE(error_with("batch.micro_batches=3").find("micro_batches is 3, expected a divisor of 4"), std::string::npos);
  EXPECT_NE(error_with("losses.bias_rate=0.1").find("bias_rate"), std::string::npos);
  EXPECT_NE(error_with("optimizer.learning_rate=fast").find("learning_rate"), std::string::npos);
  EXPECT_NE(error_with("schedule.kind=cosinus").find("cosine"), std::string::npos);
  EXPECT_NE(error_with("run.folder=3").find("folder is 3"), std::string::npos);
  EXPECT_NE(error_with("version=2").find("version is 2, this build reads version 1"), std::string::npos);
  Json json = good;
  EXPECT_NE(error_of([&] { set_field(json, "seed.x=1"); }).find("--set seed.x=1"), std::string::npos);
  EXPECT_NE(error_of([&] { set_field(json, "seed"); }).find("expected FIELD.FIELD=VALUE"), std::string::npos);
}

TEST(Recipe, ThoseInTheRepositoryAreValid) {
  int found = 0;
  for (const auto& entry : std::filesystem::directory_iterator(JUNTO_SOURCE_DIR "/recipes")) {
    const std::string path = entry.path().string();
    const Recipe recipe = parse_recipe(parse_json(read_text_file(path, 1 << 20), path), path);
    for (const std::string& file : recipe.data.files)
      EXPECT_TRUE(std::filesystem::exists(JUNTO_SOURCE_DIR "/" + file)) << file;
    ++found;
  }
  EXPECT_GT(found, 0);
}

}  // namespace
}  // namespace junto
