// What is trained is what runs: logits of LanguageModel and of the engine on the file that it is exported to.
#include "train/loop/export.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <string>

#include "compress/synth_tokenizer.h"
#include "format/model_text.h"
#include "format/test_directory.h"
#include "train/loop/test_logits.h"

namespace junto {
namespace {

LanguageModelShape shape_with(const RouterSpec& router) {
  LanguageModelShape shape;
  shape.hidden = 32;
  shape.layers = 3;
  shape.heads = 4;
  shape.kv_heads = 2;
  shape.head_dim = 8;
  shape.context = 64;
  shape.expert_width = 24;
  shape.router = router;
  return shape;
}

std::vector<std::pair<const char*, LanguageModelShape>> shapes() {
  const RouterSpec softmax{.experts = 6, .select = TopK{2}, .weigh = Weigh::kRenormalised};
  std::vector<std::pair<const char*, LanguageModelShape>> out = {
      {"softmax", shape_with(softmax)},
      {"deepseek", shape_with({.experts = 8,
                               .score = Score::kSigmoid,
                               .selection_bias = true,
                               .select = GroupLimited{.k = 3, .groups = 4, .top_groups = 2},
                               .weigh = Weigh::kRenormalised,
                               .renormalise_eps = 1e-20f,
                               .scale = 2.5f})},
      {"top-p", shape_with({.experts = 6, .select = TopP{.p = 0.6f}})},
      {"threshold",
       shape_with({.experts = 6, .score = Score::kSigmoid, .select = Threshold{.threshold = 0.5f, .min_k = 1}})},
      {"sparse mixer", shape_with({.experts = 5, .score = Score::kLogit, .select = SparseMixer{}})},
      {"softmax of chosen",
       shape_with({.experts = 5, .score = Score::kLogit, .select = TopK{3}, .weigh = Weigh::kSoftmaxOfChosen})},
      {"dense and shared", shape_with(softmax)},
      {"dense", shape_with({})},
  };
  LanguageModelShape& mixed = out[6].second;
  mixed.dense_layers = 1;
  mixed.dense_width = 40;
  mixed.shared_width = 16;
  mixed.qk_norm = mixed.tied_embeddings = false;
  mixed.kv_heads = 4;
  LanguageModelShape& dense = out[7].second;
  dense.dense_layers = 3;
  dense.dense_width = 40;
  return out;
}

TEST(ExportGguf, TheEngineComputesTheTrainersLogits) {
  const TestDirectory directory;
  for (const auto& [name, shape] : shapes()) {
    SCOPED_TRACE(name);
    LanguageModel model(shape, 3);
    spread_weights(model);
    const std::string path = directory.path("model.gguf");
    export_gguf(model, byte_tokenizer(), path, "test");
    expect_equal_logits(model, path);
    EXPECT_EQ(load_tokenizer(open_checkpoint(path))->encode("caf\xC3\xA9", false),
              (std::vector<std::int32_t>{'c', 'a', 'f', 0xC3, 0xA9}));
  }
}

}  // namespace
}  // namespace junto
