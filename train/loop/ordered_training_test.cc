// Sequences that are trained on in an order that follows from how they were routed before.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <set>

#include "train/data/sequence_order.h"
#include "train/loop/test_recipe.h"
#include "train/loop/trainer.h"

namespace junto {
namespace {

constexpr std::int64_t kSequences = 24, kBatch = 4, kSteps = kSequences / kBatch, kLength = 16;

/// Two layers, of whose tokens some have two experts.
Json ordered_recipe(const TestDirectory& directory, const std::string& kind) {
  return small_recipe(directory, lines_to_learn(),
                      {{"seed", 6},
                       {"model", {{"router", {{"select", {{"rule", "margin"}, {"margin", 0.01}, {"k", nullptr}}}}}}},
                       {"batch", {{"order", {{"kind", kind}, {"pass_sequences", kSequences}}}, {"micro_batches", 2}}},
                       {"losses", {{"balance_of", "single"}}},
                       {"optimizer", {{"learning_rate", 0.01}}},
                       {"schedule", {{"steps", 3 * kSteps}}}});
}

/// Tokens with several experts, of each sequence in each layer [sequences, 2]; by micro-batches, as the trainer
/// computes.
at::Tensor several_of(const Trainer& trainer, const TokenBatch& batch) {
  const at::NoGradGuard guard;
  const at::Tensor counts = at::zeros({kBatch, 2}, at::kFloat);
  for (std::int64_t first = 0; first < kBatch; first += kBatch / 2) {
    const LanguageModel::Output out = trainer.model().forward(batch.part(first, kBatch / 2).inputs);
    for (std::int64_t layer = 0; layer < 2; ++layer) {
      const RoutePlan& plan = out.routed[static_cast<std::size_t>(layer)].plan;
      for (std::int64_t unit = 0; unit < plan.units(); ++unit) {
        if (plan.experts_of(unit).size() > 1) counts[first + unit / kLength][layer] += 1.0f;
      }
    }
  }
  return counts;
}

TEST(OrderedTraining, APassFollowsTheRoutingOfTheOneBefore) {
  for (const char* kind : {"similar_routing", "fewest_experts"}) {
    const TestDirectory directory;
    Trainer trainer(parse_recipe(ordered_recipe(directory, kind), "recipe"));
    const TokenIds& text = trainer.text().train;
    SequencePasses passes(trainer.recipe().batch.order, kBatch, spans_of(text, kLength), 2, trainer.recipe().seed);
    std::set<float> different;
    for (std::int64_t step = 0; step < 3 * kSteps; ++step) {
      const TokenBatch batch = trainer.next_batch();
      EXPECT_TRUE(at::equal(batch.inputs, batch_of_spans(text, passes.spans_of_step(step), kLength).inputs))
          << kind << ", step " << step;
      const at::Tensor several = several_of(trainer, batch);
      different.insert(several.data_ptr<float>(), several.data_ptr<float>() + several.numel());
      passes.note(step, several);
      trainer.train_step();
    }
    EXPECT_GT(different.size(), 3u) << "nothing to order by";
  }
}

TEST(OrderedTraining, GoesOnInMidPassToTheBit) {
  for (const char* kind : {"shuffled", "similar_routing", "fewest_experts"}) {
    const TestDirectory directory;
    const Recipe recipe = parse_recipe(ordered_recipe(directory, kind), "recipe");
    Trainer whole(recipe);
    while (!whole.done()) whole.train_step();
    for (const std::int64_t stop : {3l, kSteps, kSteps + 2, 2 * kSteps}) {
      Trainer first(recipe), second(recipe);
      for (std::int64_t step = 0; step < stop; ++step) first.train_step();
      const std::string path = directory.path("checkpoint.safetensors");
      first.save(path);
      second.load(path);
      while (!second.done()) second.train_step();
      EXPECT_TRUE(at::equal(whole.model().parameters().values(), second.model().parameters().values()))
          << kind << " after " << stop;
    }
  }
}

TEST(OrderedTraining, RefusesAModelWithoutRouting) {
  const TestDirectory directory;
  Json json = ordered_recipe(directory, "fewest_experts");
  json["model"]["dense_layers"] = 2;
  json["model"]["dense_width"] = 8;
  json["losses"] = Json::object();
  EXPECT_NE(
      error_of([&] { parse_recipe(json, "r.json"); }).find("batch.order is by routing, expected drawn or shuffled"),
      std::string::npos);
  json["batch"]["order"]["kind"] = "shuffled";
  EXPECT_EQ(error_of([&] { parse_recipe(json, "r.json"); }), "no error");
}

}  // namespace
}  // namespace junto
