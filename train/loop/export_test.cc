// What is trained is what runs: logits of LanguageModel and of the engine on the file that it is exported to.
#include "train/loop/export.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "compress/synth_tokenizer.h"
#include "format/model_text.h"
#include "format/test_directory.h"
#include "generate/forward_rows.h"
#include "model/decoder.h"

namespace junto {
namespace {

constexpr std::int64_t kLength = 24;

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
    at::NoGradGuard guard;
    // Initial weights are so small that every model says the same; a spread of 1/sqrt(inputs) makes experts matter.
    for (const Parameter& parameter : model.parameters().all()) {
      if (parameter.decays)
        parameter.value.detach().mul_(0.7 / std::sqrt(static_cast<double>(parameter.value.size(-1))) / 0.02);
    }
    for (LanguageModel::Block& block : model.blocks()) {
      if (block.selection_bias.defined())
        block.selection_bias.copy_(at::linspace(-0.1, 0.1, block.selection_bias.size(0)));
    }
    std::vector<std::int32_t> ids(kLength);
    for (std::int64_t i = 0; i < kLength; ++i) ids[i] = static_cast<std::int32_t>((i * 37 + 11) % 257);
    const LanguageModel::Output expected =
        model.forward(at::tensor(std::vector<std::int64_t>(ids.begin(), ids.end()), at::kLong).reshape({1, kLength}));
    const std::string path = directory.path("model.gguf");
    export_gguf(model, byte_tokenizer(), path, "test");

    const Checkpoint checkpoint = open_checkpoint(path);
    ThreadPool pool(2);
    const std::shared_ptr<const Model> loaded = load_model(checkpoint);
    Decoder decoder(loaded, pool, {DType::kF32, ActivationType::kF32});
    Sequence sequence;
    double largest = 0.0, difference = 0.0;
    forward_rows(decoder, sequence, ids, 0, nullptr, [&](std::int64_t first, MatrixView<const float> logits) {
      for (std::int64_t r = 0; r < logits.rows; ++r) {
        for (std::int64_t v = 0; v < logits.cols; ++v) {
          const double found = logits.row(r)[v], wanted = expected.logits.data_ptr<float>()[(first + r) * 257 + v];
          largest = std::max(largest, std::abs(wanted));
          difference = std::max(difference, std::abs(found - wanted));
        }
      }
    });
    EXPECT_GT(largest, 0.5);
    EXPECT_LE(difference, 1e-4 * std::max(1.0, largest));
    EXPECT_EQ(load_tokenizer(checkpoint)->encode("caf\xC3\xA9", false),
              (std::vector<std::int32_t>{'c', 'a', 'f', 0xC3, 0xA9}));
  }
}

}  // namespace
}  // namespace junto
