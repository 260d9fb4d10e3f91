// What is trained is what runs: logits of LanguageModel and of the engine on the file that it is exported to.
#include "train/loop/export.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "cli/model_report.h"
#include "compress/synth_tokenizer.h"
#include "format/model_text.h"
#include "format/test_directory.h"
#include "train/loop/test_logits.h"

namespace junto {
namespace {

LanguageModelShape shape_with(const RouterSpec& router) {
  LanguageModelShape shape = small_shape();
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
      {"cosine, gating residual", shape_with({.experts = 6,
                                              .logits = LogitsKind::kCosine,
                                              .logit_residual = true,
                                              .logit_scale = 8.0f,
                                              .select = TopK{2}})},
      {"two-layer, margin",
       shape_with({.experts = 6, .logits = LogitsKind::kTwoLayer, .logits_hidden = 20, .select = Margin{0.1f}})},
      {"hash",
       shape_with({.experts = 6, .select = Given{.k = 2, .seed = 5}, .weigh = Weigh::kConstant, .scale = 0.5f})},
      {"entropy override", shape_with({.experts = 6,
                                       .select = TopP{.p = 0.5f, .inclusive = false, .min_k = 2},
                                       .entropy_override = EntropyOverride{.threshold = 0.95f}})},
      {"weights on inputs", shape_with({.experts = 6, .select = TopK{2}, .weight_on = WeightOn::kInput})},
      {"MoE++", shape_with({.experts = 8, .logit_residual = true, .select = TopK{2}})},
      {"ReLU", shape_with(softmax)},
      {"LoRA beside a shared expert", shape_with({.experts = 6, .select = TopK{2}, .scale = 2.0f})},
      {"heavy ball", shape_with(softmax)},
      {"Adam, then heavy ball", shape_with(softmax)},
      {"three rounds", shape_with({.experts = 6, .logit_residual = true, .selection_bias = true, .select = TopK{2}})},
      {"two rounds of one router", shape_with(softmax)},
      {"routers one layer ahead", shape_with(softmax)},
      {"routers past a dense layer", shape_with(softmax)},
      {"layer norm", shape_with(softmax)},
      {"post-norm of layer norm", shape_with(softmax)},
      {"post-norm", shape_with(softmax)},
      {"post-norm, twice, Adam of decay 1", shape_with(softmax)},
      {"MoE++ as released", shape_with({.experts = 8,
                                        .logits = LogitsKind::kTwoLayer,
                                        .logits_hidden = 64,
                                        .logit_residual = true,
                                        .logit_deviation = 1.5f,
                                        .select = TopK{2},
                                        .weigh = Weigh::kRenormalised,
                                        .weightless = 1})},
  };
  for (auto& [name, shape] : out) {
    const std::string_view which = name;
    if (which == "layer norm" || which == "post-norm of layer norm") {
      shape.norm = NormKind::kLayer;
      shape.norms = which == "layer norm" ? BlockNorms::kPre : BlockNorms::kPostTwice;
      shape.dense_layers = 1;
      shape.dense_width = 40;
    }
    if (which == "post-norm") {
      shape.norms = BlockNorms::kPost;
      shape.dense_layers = 1;
      shape.dense_width = 40;
      shape.residual = HeavyBall{0.7f, -1.0f, 0.2f};
    }
    if (which == "post-norm, twice, Adam of decay 1") {
      shape.norms = BlockNorms::kPostTwice;
      shape.residual = HeavyBall{0.7f, -1.0f};
      shape.first_residual = AdamLike{.beta2 = 0.99f, .gamma = -1.0f, .eps = 1e-4f, .decay = 1.0f};
    }
    if (which == "MoE++ as released") shape.input_scale = 2.0f;
    if (which.starts_with("MoE++")) shape.constant_experts = 2, shape.copy_experts = shape.zero_experts = 1;
    if (which == "ReLU") {
      shape.activation = {.kind = ActivationKind::kRelu, .gated = false};
      shape.dense_layers = 1;
      shape.dense_width = 40;
    }
    if (which == "LoRA beside a shared expert") {
      shape.activation = {.kind = ActivationKind::kIdentity, .gated = false};
      shape.expert_width = 4;
      shape.shared_width = 24;
    }
    if (which == "heavy ball") shape.residual = HeavyBall{0.7f, -1.0f, 0.2f};
    if (which == "Adam, then heavy ball") {
      shape.residual = HeavyBall{};
      shape.first_residual = AdamLike{.beta2 = 0.99f, .gamma = 0.5f, .eps = 1e-2f};
    }
    if (which == "three rounds") shape.rounds = {.count = 3}, shape.shared_width = 16;
    if (which == "two rounds of one router") {
      shape.rounds = {.count = 2, .inner_residual = false, .own_routers = false, .shared_last = true};
      shape.shared_width = 16;
      shape.residual = Restart();
    }
    if (which == "routers one layer ahead" || which == "routers past a dense layer") shape.router_back = 1;
  }
  for (auto& [name, shape] : out) {  // a layer without experts between two that route
    const std::string_view which = name;
    if (which != "heavy ball" && which != "MoE++ as released" && which != "routers past a dense layer") continue;
    shape.routed_layers = {0, 2};
    shape.dense_width = 40;
  }
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

/// Of the shape of that name, written to `path`.
void export_shape(std::string_view wanted, const std::string& path) {
  for (const auto& [name, shape] : shapes()) {
    if (wanted == name) export_gguf(LanguageModel(shape, 3), byte_tokenizer(), path, "test");
  }
}

TEST(ExportGguf, StreamedExpertsGiveTheTrainersLogitsAndFreeOnesAreNeverRead) {
  const TestDirectory directory;
  for (const auto& [name, shape] : shapes()) {
    if (!shape.routes()) continue;
    SCOPED_TRACE(name);
    LanguageModel model(shape, 3);
    spread_weights(model);
    const std::string path = directory.path("model.gguf");
    export_gguf(model, byte_tokenizer(), path, "test");
    LoadOptions tight;
    tight.expert_memory = 80000;
    const std::shared_ptr<Model> loaded = load_model(open_checkpoint(path), tight);
    ASSERT_TRUE(loaded->cache);
    EXPECT_EQ(loaded->cache->experts(), shape.routed_count() * shape.weighted_experts());
    expect_equal_logits(model, path, tight);
  }
}

/// What --prefetch next-router fetched early of the model of that shape, token by token.
ExpertCacheCounters prefetched(std::string_view shape, const std::string& path) {
  export_shape(shape, path);
  LoadOptions tight;
  tight.expert_memory = 120000;
  tight.prefetch = Prefetch::kNextRouter;
  const std::shared_ptr<Model> loaded = load_model(path, tight);
  EXPECT_LT(loaded->cache->slots(), loaded->cache->experts());
  ThreadPool pool(2);
  Decoder decoder(loaded, pool);
  Sequence sequence;
  for (std::int32_t i = 0; i < 30; ++i) decoder.feed(sequence, std::vector<std::int32_t>{(i * 53 + 7) % 257});
  return loaded->cache->counters();
}

// Pre-gated MoE (arXiv 2308.12066): the layer below has chosen already, so nothing that is fetched early is in vain.
TEST(ExportGguf, ExpertsOfRoutersOneLayerAheadAreFetchedWithoutAMistake) {
  const TestDirectory directory;
  const std::string path = directory.path("model.gguf");
  const ExpertCacheCounters ahead = prefetched("routers one layer ahead", path), usual = prefetched("softmax", path);
  EXPECT_EQ(ahead.guessed, 30 * 2 * 2);  // tokens, layers but the first, experts of a token
  EXPECT_EQ(ahead.guessed_right, ahead.guessed);
  EXPECT_EQ(ahead.guessable, ahead.guessed);
  EXPECT_EQ(ahead.wasted_prefetches + ahead.dropped_prefetches, 0);
  EXPECT_LT(usual.guessed_right, usual.guessed);
}

/// Rounds, moments and carried logits belong to a row and a forward pass: nothing of them is left for the next token.
TEST(ExportGguf, HoweverATextIsCutTheEngineGivesTheSameBits) {
  const TestDirectory directory;
  const std::string path = directory.path("model.gguf");
  ThreadPool pool(2);
  for (const auto& [name, shape] : shapes()) {
    SCOPED_TRACE(name);
    LanguageModel model(shape, 3);
    spread_weights(model);
    export_gguf(model, byte_tokenizer(), path, "test");
    Decoder decoder(load_model(path), pool);
    const auto logits_of = [&](int chunk) {
      std::vector<std::int32_t> ids(20);
      for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int32_t>((i * 53 + 7) % 257);
      Sequence sequence;
      std::vector<float> out;
      forward_rows(decoder, sequence, ids, chunk, nullptr, [&](std::int64_t, MatrixView<const float> logits) {
        for (std::int64_t r = 0; r < logits.rows; ++r) {
          out.insert(out.end(), logits.row(r).begin(), logits.row(r).end());
        }
      });
      return out;
    };
    const std::vector<float> whole = logits_of(0);
    EXPECT_EQ(logits_of(1), whole);
    EXPECT_EQ(logits_of(7), whole);
  }
}

TEST(ExportGguf, InspectShowsFreeExpertsRoundsAndResiduals) {
  const TestDirectory directory;
  const std::string path = directory.path("model.gguf");
  const auto experts_in = [&](std::string_view name, std::size_t layers) {
    export_shape(name, path);
    const Checkpoint checkpoint = open_checkpoint(path);
    return to_json(report_model(checkpoint, *load_model(checkpoint))).at("layers").at(layers).at("experts");
  };
  const Json free = experts_in("MoE++", 0);
  EXPECT_EQ(free.at("kinds"), (Json{{"constant", 2}, {"copy", 1}, {"ffn", 4}, {"zero", 1}}));
  EXPECT_EQ(free.at("router").at("logit_residual"), true);
  EXPECT_FALSE(free.contains("rounds"));
  EXPECT_EQ(experts_in("three rounds", 0).at("rounds").at("count"), 3);
  EXPECT_EQ(experts_in("two rounds of one router", 0).at("residual").at("rule"), "restart");
  EXPECT_EQ(experts_in("Adam, then heavy ball", 0).at("residual").at("rule"), "adam_like");
  EXPECT_EQ(experts_in("Adam, then heavy ball", 1).at("residual").at("rule"), "heavy_ball");
  EXPECT_EQ(experts_in("routers one layer ahead", 0).at("router_back"), 1);
  EXPECT_EQ(experts_in("post-norm", 1).at("norms"), "post");
  EXPECT_EQ(experts_in("post-norm, twice, Adam of decay 1", 0).at("norms"), "post_twice");
  EXPECT_FALSE(experts_in("softmax", 0).contains("norms"));
  EXPECT_EQ(experts_in("MoE++ as released", 0).at("input_scale"), 2.0f);
  EXPECT_EQ(experts_in("MoE++ as released", 0).at("router").at("weightless"), 1);
}

}  // namespace
}  // namespace junto
