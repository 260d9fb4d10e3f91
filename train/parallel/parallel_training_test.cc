// What several ranks train is what one trains.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "format/test_directory.h"
#include "train/loop/test_recipe.h"
#include "train/loop/trainer.h"
#include "train/parallel/test_rank_threads.h"

namespace junto {
namespace {

Json recipe_of(const TestDirectory& directory, const Json& changes = Json::object()) {
  Json recipe = small_recipe(directory, lines_to_learn(),
                             {{"name", "parted"},
                              {"seed", 3},
                              {"model", {{"router", {{"weigh", "renormalised"}}}}},
                              {"data", {{"validation_share", 0.2}}},
                              {"batch", {{"sequences", 8}}},
                              {"optimizer", {{"learning_rate", 0.005}}},
                              {"schedule", {{"steps", 12}, {"warmup_steps", 2}}},
                              {"run", {{"evaluate_spans", 5}}}});
  recipe.merge_patch(changes);
  return recipe;
}

struct Trained {
  std::vector<StepReport> steps;
  double validation = 0.0;
  Ledger ledger;
};

Trained train_all(const Json& recipe, Exchange& exchange) {
  Trainer trainer(parse_recipe(recipe, "recipe"), exchange);
  Trained out;
  while (!trainer.done()) out.steps.push_back(trainer.train_step());
  out.validation = trainer.evaluate();
  out.ledger = trainer.ledger();
  return out;
}

void expect_same(const Trained& one, const Trained& other, const std::string& what) {
  ASSERT_EQ(one.steps.size(), other.steps.size()) << what;
  for (std::size_t i = 0; i < one.steps.size(); ++i) {
    const StepReport &a = one.steps[i], &b = other.steps[i];
    const auto near = [&](double x, double y, const char* field) {
      EXPECT_NEAR(x, y, 1e-5 * std::max(1.0, std::abs(x))) << what << ", step " << a.step << ", " << field;
    };
    near(a.loss, b.loss, "loss");
    near(a.balance, b.balance, "balance");
    near(a.sequence_balance, b.sequence_balance, "sequence balance");
    near(a.z, b.z, "z");
    near(a.entropy, b.entropy, "entropy");
    near(a.importance, b.importance, "importance");
    near(a.smooth_load, b.smooth_load, "load");
    near(a.orthogonality, b.orthogonality, "orthogonality");
    near(a.adapter_experts, b.adapter_experts, "experts of adapters");
    near(a.adapter_all, b.adapter_all, "rows with all experts of adapters");
    EXPECT_NEAR(a.gradient_norm, b.gradient_norm, 1e-4 * a.gradient_norm) << what << ", step " << a.step;
    EXPECT_EQ(a.load, b.load) << what << ", step " << a.step;
    EXPECT_EQ(to_json(a.work), to_json(b.work)) << what << ", step " << a.step;
  }
  EXPECT_NEAR(one.validation, other.validation, 1e-5) << what;
  EXPECT_EQ(to_json(one.ledger), to_json(other.ledger)) << what;
}

/// Recipes that between them have every loss and every kind of state.
std::vector<std::pair<std::string, Json>> recipes(const TestDirectory& directory) {
  return {
      {"losses", recipe_of(directory, {{"batch", {{"micro_batches", 2}}},
                                       {"losses",
                                        {{"balance", 0.05},
                                         {"sequence_balance", 0.02},
                                         {"z", 0.001},
                                         {"entropy", 0.01},
                                         {"importance", 0.03},
                                         {"orthogonality", 0.02}}},
                                       {"optimizer", {{"average", 0.9}}}})},
      {"learned noise", recipe_of(directory, {{"model", {{"router_training", {{"noise", "learned"}}}}},
                                              {"batch", {{"recompute_activations", true}}},
                                              {"losses", {{"load", 0.05}}}})},
      {"bias", recipe_of(directory, {{"model", {{"router", {{"score", "sigmoid"}, {"selection_bias", true}}}}},
                                     {"losses", {{"bias_rate", 0.01}}}})},
      {"variable k",
       recipe_of(directory, {{"model",
                              {{"router", {{"select", {{"rule", "margin"}, {"margin", 0.02}, {"k", nullptr}}}}},
                               {"router_training", {{"noise", "gumbel"}, {"amount", 0.2}}}}},
                             {"losses", {{"balance_of", "single"}}},
                             {"optimizer", {{"kind", "adafactor"}, {"learning_rate", 0.05}}}})},
      {"ordered by routing",
       recipe_of(
           directory,
           {{"model", {{"router", {{"select", {{"rule", "margin"}, {"margin", 0.02}, {"k", nullptr}}}}}}},
            {"batch", {{"micro_batches", 2}, {"order", {{"kind", "similar_routing"}, {"pass_sequences", 32}}}}}})},
      {"free experts, stages",
       recipe_of(directory,
                 {{"model", {{"free_experts", {{"constant", 1}, {"zero", 1}}}}},
                  {"stages", Json::array({{{"from", 0.5}, {"freeze", Json::array({"token_embd.weight"})}}})}})},
      {"routed adapters",
       recipe_of(directory, {{"adapters",
                              {{"rank", 2},
                               {"targets", Json::array({"q_proj", "o_proj"})},
                               {"from", 0.7},
                               {"router", {{"version", 1}, {"experts", 3}, {"select", {{"rule", "top_p"}}}}}}},
                             {"losses", {{"balance_of", "weights"}, {"entropy", 0.01}}}})},
      {"growth",
       recipe_of(directory,
                 {{"stages",
                   Json::array({{{"from", 0.8},
                                 {"experts", 8},
                                 {"diversity", {{"kind", "redraw"}, {"amount", 0.5}, {"new_routers", true}}}}})}})}};
}

TEST(ParallelTraining, PartsOfABatchGiveTheLossesOfOneProcess) {
  const TestDirectory directory;
  for (const auto& [name, recipe] : recipes(directory)) {
    const Trained whole = train_all(recipe, local_exchange());
    EXPECT_LT(whole.steps.back().loss, whole.steps.front().loss - 0.1) << name;
    for (const int ranks : {2, 4}) {
      RankThreads::run(ranks, [&, &name = name, &recipe = recipe](Exchange& exchange) {
        const Trained parted = train_all(recipe, exchange);
        if (exchange.rank() == ranks - 1) expect_same(whole, parted, name + ", " + std::to_string(ranks) + " ranks");
      });
    }
  }
}

TEST(ParallelTraining, PartedExpertsGiveTheLossesOfOneProcess) {
  const TestDirectory directory;
  for (auto& [name, recipe] : recipes(directory)) {
    if (name == "growth") continue;
    if (name == "losses") recipe["losses"].erase("orthogonality");
    if (name == "variable k") recipe["optimizer"]["kind"] = "sgd";
    const Trained whole = train_all(recipe, local_exchange());
    EXPECT_LT(whole.steps.back().loss, whole.steps.front().loss - 0.1) << name;
    recipe["placement"] = {{"experts", 2}};
    for (const int ranks : {2, 4}) {
      RankThreads::run(ranks, [&, &name = name, &recipe = recipe](Exchange& exchange) {
        const Trained parted = train_all(recipe, exchange);
        if (exchange.rank() == ranks - 1) expect_same(whole, parted, name + ", " + std::to_string(ranks) + " ranks");
      });
    }
  }
}

// Weights on experts' inputs, several rounds with one set of experts: other ways through a layer.
TEST(ParallelTraining, PartedExpertsOfOtherLayersGiveTheLossesOfOneProcess) {
  const TestDirectory directory;
  const std::vector<Json> models = {
      {{"router", {{"weight_on", "input"}, {"score", "sigmoid"}}}},
      {{"rounds", {{"count", 2}}}, {"shared_width", 16}, {"dense_layers", 1}, {"dense_width", 32}},
  };
  for (const Json& model : models) {
    Json recipe = recipe_of(directory, {{"model", model}});
    const Trained whole = train_all(recipe, local_exchange());
    recipe["placement"] = {{"experts", 2}};
    RankThreads::run(2, [&](Exchange& exchange) {
      const Trained parted = train_all(recipe, exchange);
      if (exchange.rank() == 1) expect_same(whole, parted, model.dump());
    });
  }
}

/// Three grids one after the other.
Json moving_recipe(const TestDirectory& directory, const Json& changes = Json::object()) {
  Json recipe =
      recipe_of(directory, {{"optimizer", {{"average", 0.9}}},
                            {"model", {{"router", {{"selection_bias", true}}}}},
                            {"losses", {{"bias_rate", 0.01}}},
                            {"placement", {{"data", 4}, {"experts", 1}}},
                            {"stages", Json::array({{{"from", 0.25}, {"placement", {{"data", 2}, {"experts", 2}}}},
                                                    {{"from", 0.5}, {"placement", {{"experts", 4}}}},
                                                    {{"from", 0.75}, {"placement", {{"data", 4}}}}})}});
  recipe.merge_patch(changes);
  return recipe;
}

TEST(ParallelTraining, ExpertsMoveInMidRunWithTheirMoments) {
  const TestDirectory directory;
  Json still = moving_recipe(directory);
  still.erase("placement");
  still["stages"] = Json::array();
  const Trained whole = train_all(still, local_exchange());
  const Json recipe = moving_recipe(directory);
  RankThreads::run(4, [&](Exchange& exchange) {
    Trainer trainer(parse_recipe(recipe, "recipe"), exchange);
    Trained moved;
    std::vector<std::int64_t> held;  // experts of a layer that this rank holds, step by step
    while (!trainer.done()) {
      moved.steps.push_back(trainer.train_step());
      held.push_back(trainer.model().blocks()[0].expert_down.size(0));
    }
    moved.validation = trainer.evaluate();
    moved.ledger = trainer.ledger();
    EXPECT_EQ(held, (std::vector<std::int64_t>{4, 4, 4, 2, 2, 2, 1, 1, 1, 4, 4, 4}));
    if (exchange.rank() == 1) expect_same(whole, moved, "moved");
  });
}

std::string bytes_of(const std::string& path) {
  return read_text_file(path, std::size_t{1} << 30);
}

// A checkpoint is that of one process: it goes on with as many processes, to the bit, and with others.
TEST(ParallelTraining, ACheckpointGoesOnUnderAnyPlacement) {
  const TestDirectory directory;
  const Json recipe = moving_recipe(directory);
  const auto file = [&](const std::string& name) { return directory.path(name + ".safetensors"); };
  RankThreads::run(4, [&](Exchange& exchange) {
    Trainer trainer(parse_recipe(recipe, "recipe"), exchange);
    while (!trainer.done()) {
      trainer.train_step();
      for (const std::int64_t at : {2, 5, 8}) {
        if (trainer.step() == at) trainer.save(file("at" + std::to_string(at)));
      }
    }
    trainer.save(file("whole"));
    trainer.export_model(directory.path("."));
  });
  const std::string model = bytes_of(directory.path("model.gguf"));
  for (const int at : {2, 5, 8}) {
    RankThreads::run(4, [&](Exchange& exchange) {
      Trainer trainer(parse_recipe(recipe, "recipe"), exchange);
      trainer.load(file("at" + std::to_string(at)));
      while (!trainer.done()) trainer.train_step();
      trainer.save(file("resumed"));
      trainer.export_model(directory.path("."));
    });
    EXPECT_TRUE(bytes_of(file("whole")) == bytes_of(file("resumed"))) << at;
    EXPECT_TRUE(model == bytes_of(directory.path("model.gguf"))) << at;
  }
  // One process, and two that part the experts otherwise.
  Json still = recipe;
  still.erase("placement");
  for (Json& stage : still["stages"]) stage.erase("placement");
  Trainer alone(parse_recipe(still, "recipe"));
  alone.load(file("at5"));
  const StepReport next = alone.train_step();
  still["placement"] = {{"experts", 2}};
  RankThreads::run(2, [&](Exchange& exchange) {
    Trainer trainer(parse_recipe(still, "recipe"), exchange);
    trainer.load(file("at5"));
    EXPECT_NEAR(trainer.train_step().loss, next.loss, 1e-5);
    EXPECT_EQ(trainer.model().blocks()[0].expert_down.size(0), 2);
    EXPECT_EQ(trainer.model().parameters().count(), alone.model().parameters().count());
    EXPECT_LT(trainer.state_bytes(), alone.state_bytes());
  });
}

TEST(ParallelTraining, WhatCannotBePartedIsRefusedByName) {
  const TestDirectory directory;
  const auto refusal = [&](const Json& changes) {
    const Json recipe = recipe_of(directory, changes);  // writes the text, once
    return error_of([&] { RankThreads::run(2, [&](Exchange& exchange) { train_all(recipe, exchange); }); });
  };
  const Json capacity = {{"rule", "capacity"}, {"factor", 1.0}};
  EXPECT_NE(refusal({{"batch", {{"sequences", 6}, {"micro_batches", 2}}}}).find("batch.sequences is 6"),
            std::string::npos);
  EXPECT_NE(refusal({{"model", {{"router", {{"prune", capacity}}}}}}).find("model.router.prune is set"),
            std::string::npos);
  EXPECT_NE(
      refusal({{"model",
                {{"router", {{"select", {{"rule", "top_k"}, {"k", 1}}}}}, {"router_training", {{"balanced", true}}}}}})
          .find("model.router_training.balanced is true"),
      std::string::npos);
  Json stage = recipe_of(directory)["model"]["router"];
  stage["prune"] = capacity;
  EXPECT_NE(
      refusal({{"stages", Json::array({{{"from", 0.5}, {"router", stage}}})}}).find("stages[0].router.prune is set"),
      std::string::npos);
  const auto parted = [](Json changes) {
    changes["placement"] = {{"experts", 2}};
    return changes;
  };
  EXPECT_NE(refusal({{"placement", {{"experts", 3}}}}).find("placement.experts is 3, expected a divisor of 2"),
            std::string::npos);
  EXPECT_NE(refusal({{"placement", {{"data", 2}, {"experts", 2}}}}).find("placement is data 2 times experts 2"),
            std::string::npos);
  EXPECT_NE(refusal({{"stages", Json::array({{{"from", 0.5}, {"placement", {{"data", 3}}}}})}})
                .find("stages[0].placement is data 3 times experts 1"),
            std::string::npos);
  EXPECT_NE(refusal(parted({{"optimizer", {{"kind", "adafactor"}}}})).find("optimizer.kind is adafactor"),
            std::string::npos);
  EXPECT_NE(refusal(parted({{"losses", {{"orthogonality", 0.1}}}})).find("losses.orthogonality is set"),
            std::string::npos);
  EXPECT_NE(
      refusal(parted({{"stages", Json::array({{{"from", 0.5}, {"experts", 8}}})}})).find("stages[0].experts is set"),
      std::string::npos);
  EXPECT_NE(refusal(parted({{"model", {{"free_experts", {{"zero", 3}}}}}})).find("placement.experts is 2"),
            std::string::npos);
  EXPECT_NE(error_of([&] { Trainer(parse_recipe(recipe_of(directory, parted({})), "recipe")); }).find("mpirun -n"),
            std::string::npos);
}

}  // namespace
}  // namespace junto
