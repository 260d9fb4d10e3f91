#include "train/reproduce/measure_paths.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "format/test_directory.h"
#include "model/path_predictor.h"
#include "train/loop/export.h"
#include "train/loop/trainer.h"

namespace junto {
namespace {

/// Two stages of four experts; a token asks the first for itself modulo 4, the second for the one after that.
struct MadeText {
  TokenIds tokens;
  PathLabels paths{{4, 4}, {}};
};
MadeText made_text(int tokens, int step) {
  MadeText out;
  for (int t = 0; t < tokens; ++t) {
    const int id = (t * step + t / 7) % 40;
    out.tokens.push_back(id);
    for (const int shift : {0, 1}) {
      for (int e = 0; e < 4; ++e) out.paths.asked.push_back(e == (id + shift) % 4 ? 1 : 0);
    }
  }
  return out;
}

TEST(MeasurePaths, WhatFollowsFromTheTokenOrTheLayerBelowIsKnownToThoseWhoLookThere) {
  const MadeText train = made_text(2000, 3), test = made_text(500, 5);
  const auto recall = untrained_recall({train.tokens, train.paths}, {test.tokens, test.paths}, 500, 40);
  EXPECT_EQ(recall.at("token-table"), 1.0);
  EXPECT_GE(recall.at("table"), 0.5);  // the second stage by the first
  EXPECT_LT(recall.at("previous-layer"), 0.5);
  EXPECT_LT(recall.at("previous-token"), 0.5);
  EXPECT_LT(recall.at("frequency"), 0.5);
}

LanguageModelShape small_shape() {
  LanguageModelShape shape;
  shape.vocabulary = 40, shape.hidden = 16, shape.layers = 1, shape.heads = 2, shape.kv_heads = 2, shape.head_dim = 8;
  shape.context = 12, shape.dense_layers = 1, shape.dense_width = 24, shape.tied_embeddings = false;
  shape.path_experts = {4, 4};
  return shape;
}

TEST(MeasurePaths, AModelsLossAndRecallAreThoseOfItsLogits) {
  const MadeText text = made_text(100, 3);
  LanguageModel model(small_shape(), 1);
  const MeasuredPaths found = measure_paths(model, {text.tokens, text.paths}, 3, 2, 12);
  EXPECT_EQ(found.tokens, 36);
  EXPECT_EQ(found.asked, 72);
  EXPECT_NEAR(found.loss, 8 * std::log(2.0), 0.5);  // it knows nothing yet
  at::NoGradGuard guard;
  const at::Tensor inputs = span_batch(text.tokens, 0, 3, 12).inputs;
  const at::Tensor best = model.forward(inputs).logits.reshape({-1, 2, 4}).argmax(2);
  const at::Tensor ids = inputs.reshape({-1, 1});
  const at::Tensor wanted = at::cat({ids.remainder(4), (ids + 1).remainder(4)}, 1);
  EXPECT_EQ(found.right, (best == wanted).sum().item<std::int64_t>());
}

// What the trainer computes, the engine computes from the file.
TEST(MeasurePaths, AnExportedPredictorSaysWhatTheTrainerSays) {
  const TestDirectory directory;
  LanguageModel model(small_shape(), 7);
  {
    at::NoGradGuard guard;
    at::Tensor values = model.parameters().values();
    values.mul_(8.0);
  }
  export_gguf(model, {}, directory.path("paths.gguf"), "test");
  ThreadPool pool(1);
  PathPredictor predictor(load_path_predictor(directory.path("paths.gguf")), pool);
  EXPECT_EQ(predictor.model().config.path_experts, (std::vector<int>{4, 4}));
  const MadeText text = made_text(12, 3);
  at::NoGradGuard guard;
  const at::Tensor chances = at::sigmoid(model.forward(span_batch(made_text(13, 3).tokens, 0, 1, 12).inputs).logits);
  for (std::size_t t = 0; t < 12; ++t) {
    const auto found = predictor.predict(std::span(text.tokens).first(t + 1));
    for (std::size_t i = 0; i < 8; ++i) {
      EXPECT_NEAR(found[i], chances[static_cast<std::int64_t>(t)][static_cast<std::int64_t>(i)].item<float>(), 1e-4);
    }
  }
}

}  // namespace
}  // namespace junto
