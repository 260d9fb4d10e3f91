#include "train/loop/import.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "compress/convert.h"
#include "compress/synth_tokenizer.h"
#include "format/test_directory.h"
#include "train/loop/export.h"
#include "train/loop/export_huggingface.h"
#include "train/loop/recipe.h"
#include "train/loop/test_logits.h"
#include "train/loop/trainer.h"

namespace junto {
namespace {

LanguageModelShape shape_with_theta() {
  LanguageModelShape shape = small_shape();
  shape.rope_theta = 5000.0f;
  return shape;
}

void expect_imported(const LanguageModel& model, const std::string& path) {
  LanguageModel imported(shape_of_checkpoint(path), 99);
  import_checkpoint(path, imported);
  ASSERT_EQ(imported.parameters().all().size(), model.parameters().all().size());
  for (std::size_t p = 0; p < model.parameters().all().size(); ++p) {
    const Parameter &a = model.parameters().all()[p], &b = imported.parameters().all()[p];
    EXPECT_EQ(a.name, b.name);
    EXPECT_TRUE(at::equal(a.value.detach(), b.value.detach())) << a.name;
  }
  expect_equal_logits(imported, path);
}

TEST(Import, WhatWasExportedComesBack) {
  const TestDirectory directory;
  std::vector<LanguageModelShape> shapes(4, shape_with_theta());
  shapes[1].shared_width = 16;
  shapes[1].dense_layers = 1;
  shapes[1].dense_width = 40;
  shapes[1].tied_embeddings = false;
  shapes[1].router.score = Score::kSigmoid;
  shapes[1].router.selection_bias = true;
  shapes[2].dense_layers = 3;
  shapes[2].dense_width = 40;
  shapes[3].routed_layers = {1};
  shapes[3].dense_width = 40;
  for (const LanguageModelShape& shape : shapes) {
    LanguageModel model(shape, 3);
    spread_weights(model);
    const std::string path = directory.path("model.gguf");
    export_gguf(model, byte_tokenizer(), path, "test");
    expect_imported(model, path);
  }
}

// llama.cpp's llama stores q and k with neighbouring rows that rotate together.
TEST(Import, RowsOfLlamaAreOrderedBack) {
  const TestDirectory directory;
  LanguageModelShape shape = shape_with_theta();
  shape.qk_norm = false;
  shape.dense_layers = 3;
  shape.dense_width = 40;
  LanguageModel model(shape, 3);
  spread_weights(model);
  TokenText text;
  text.end_of_text = 256;
  text.tokenizer = byte_tokenizer();
  export_huggingface(model, text, directory.path("llama"));
  expect_imported(model, directory.path("llama"));
  const ConvertReport report =
      convert({.source = directory.path("llama"), .out = directory.path("llama.gguf"), .types = {}, .progress = {}});
  EXPECT_EQ(report.architecture, "llama");
  expect_imported(model, directory.path("llama.gguf"));
}

TEST(Import, ARunBeginsWithTheCheckpointAndItsTokenizer) {
  const TestDirectory directory;
  LanguageModel model(shape_with_theta(), 3);
  const std::string path = directory.path("model.gguf");
  export_gguf(model, byte_tokenizer(), path, "test");
  const Json recipe = {{"version", 1},
                       {"model", {{"checkpoint", path}}},
                       {"data", {{"files", {directory.put("text", std::string(400, 'a'))}}, {"validation_share", 0.0}}},
                       {"batch", {{"sequences", 2}, {"length", 16}}},
                       {"stages", {{{"freeze", {"*"}}}, {{"from", 0.5}, {"freeze", {"token_embd.weight"}}}}},
                       {"schedule", {{"steps", 4}}},
                       {"run", {{"folder", directory.path("run")}}}};
  Trainer trainer(parse_recipe(recipe, "recipe"));
  const at::Tensor values = model.parameters().values();
  EXPECT_TRUE(at::equal(trainer.model().parameters().values(), values));
  EXPECT_EQ(trainer.text().train.front(), 'a');
  for (int step = 0; step < 4; ++step) {
    trainer.train_step();
    EXPECT_EQ(at::equal(trainer.model().parameters().values(), values), step < 2);
  }
  EXPECT_TRUE(at::equal(trainer.model().embedding().detach(), model.embedding().detach()));
}

TEST(Import, WhatCannotBeTrainedIsNamed) {
  const std::string checkpoints = JUNTO_SOURCE_DIR "/testdata/oracles/checkpoints/";
  EXPECT_NE(error_of([&] { shape_of_checkpoint(checkpoints + "olmoe"); }).find("expected norms of q and k per head"),
            std::string::npos);
  EXPECT_NE(error_of([&] { shape_of_checkpoint(checkpoints + "deepseek_v3"); }).find("cannot be trained"),
            std::string::npos);
  EXPECT_GT(shape_of_checkpoint(checkpoints + "mixtral").router.experts, 1);
}

// Of transformers: its second layer has no experts (mlp_only_layers).
TEST(Import, ALayerWithoutExpertsMayStandBetweenOthers) {
  const std::string path = JUNTO_SOURCE_DIR "/testdata/oracles/checkpoints/qwen3_moe";
  const LanguageModelShape shape = shape_of_checkpoint(path);
  EXPECT_EQ(shape.routed_layers, (std::vector<std::int64_t>{0, 2}));
  LanguageModel imported(shape, 1);
  import_checkpoint(path, imported);
  expect_equal_logits(imported, path);
}

}  // namespace
}  // namespace junto
