// Adapters that were trained are adapters that run: the trainer's logits over the base, stored in any type.
#include "train/loop/export_adapter.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "compress/convert.h"
#include "compress/synth_tokenizer.h"
#include "format/safetensors.h"
#include "format/test_directory.h"
#include "train/loop/export.h"
#include "train/loop/export_huggingface.h"
#include "train/loop/import.h"
#include "train/loop/test_logits.h"

namespace junto {
namespace {

constexpr std::array<bool, kLinearLayers> kAllLayers = {true, true, true, true, true, true, true};
constexpr std::array<bool, kLinearLayers> kAttention = {true, true, true, true};

AdapterShape plain(std::array<bool, kLinearLayers> targets) {
  return {.rank = 3, .alpha = 6.0f, .router = {}, .targets = targets};
}
AdapterShape routed(std::array<bool, kLinearLayers> targets) {
  AdapterShape shape = plain(targets);
  shape.router = RouterSpec{.experts = 4,
                            .select = TopP{.p = 0.75f, .inclusive = false, .min_k = 2},
                            .entropy_override = EntropyOverride{.threshold = 0.9f},
                            .scale = 0.8f};
  return shape;
}

LanguageModelShape dense_shape() {
  LanguageModelShape shape = small_shape();
  shape.dense_layers = shape.layers;
  shape.dense_width = 64;
  return shape;
}

/// Larger than a training run would make them: what is wrong is seen.
void spread_adapters(LanguageModel& model) {
  at::NoGradGuard guard;
  for (LanguageModel::Block& block : model.blocks()) {
    for (LinearAdapter& adapter : block.adapters) {
      if (!adapter.a.defined()) continue;
      adapter.b.normal_(0.0, 0.2);
      if (adapter.gate.defined()) adapter.gate.normal_(0.0, 0.3);
    }
  }
}

/// A model that reads the checkpoint at `path` and has `adapters` over it; its adapters in `folder`.
std::unique_ptr<LanguageModel> adapted_model(const std::string& path, const AdapterShape& adapters,
                                             const std::string& folder) {
  LanguageModelShape shape = shape_of_checkpoint(path);
  shape.adapters = adapters;
  auto model = std::make_unique<LanguageModel>(shape, 9);
  import_checkpoint(path, *model);
  spread_adapters(*model);
  export_adapter(*model, path, folder);
  return model;
}

void expect_adapters_run(const std::string& path, const AdapterShape& adapters, const std::string& folder) {
  const std::unique_ptr<LanguageModel> model = adapted_model(path, adapters, folder);
  LoadOptions with;
  with.adapters = {{folder}};
  expect_equal_logits(*model, path, with);
  at::NoGradGuard guard;
  const at::Tensor tokens = at::arange(24, at::kLong).reshape({1, 24});
  const LanguageModel::Output adapted = model->forward(tokens);
  model->use_adapters(false);
  EXPECT_GT((adapted.logits - model->forward(tokens).logits).abs().max().item<double>(), 0.1);
  if (!adapters.router) return;
  const auto layers = std::count(adapters.targets.begin(), adapters.targets.end(), true);
  ASSERT_EQ(std::ssize(adapted.adapted), layers * model->shape().layers);
  std::vector<int> rows_of(5);
  for (const RoutedUnits& routing : adapted.adapted) {
    for (std::int64_t unit = 0; unit < 24; ++unit) ++rows_of[routing.plan.experts_of(unit).size()];
  }
  EXPECT_GT(rows_of[2], 10);
  EXPECT_GT(rows_of[4], 10);
}

TEST(ExportAdapter, TheEngineComputesTheTrainersLogitsOverAnyBase) {
  const TestDirectory directory;
  struct Base {
    const char* name;
    LanguageModelShape shape;
    std::array<bool, kLinearLayers> targets;
  };
  LanguageModelShape untied = dense_shape();
  untied.tied_embeddings = false;
  untied.kv_heads = 4;
  for (const Base& base : {Base{"dense", dense_shape(), kAllLayers}, Base{"experts", small_shape(), kAttention},
                           Base{"untied", untied, {false, true, false, true, true, false, true}}}) {
    LanguageModel model(base.shape, 3);
    spread_weights(model);
    const std::string path = directory.path("model.gguf"), quantised = directory.path("q8.gguf");
    export_gguf(model, byte_tokenizer(), path, "test");
    ConvertOptions options{.source = path, .out = quantised, .types = {}, .progress = {}};
    options.types.type = parse_weight_type("q8_0", "--type");
    convert(options);
    for (const std::string& file : {path, quantised}) {
      for (const AdapterShape& adapters : {plain(base.targets), routed(base.targets)}) {
        SCOPED_TRACE(std::string(base.name) + " " + file + (adapters.router ? " routed" : " plain"));
        expect_adapters_run(file, adapters, directory.path("adapter"));
      }
    }
  }
}

// llama.cpp's llama stores q and k with neighbouring rows that rotate together, adapters name the published model.
TEST(ExportAdapter, FitsLlamaAsItIsPublishedAndAsItIsConverted) {
  const TestDirectory directory;
  LanguageModelShape shape = dense_shape();
  shape.qk_norm = false;
  LanguageModel model(shape, 3);
  spread_weights(model);
  TokenText text;
  text.end_of_text = 256;
  text.tokenizer = byte_tokenizer();
  export_huggingface(model, text, directory.path("llama"));
  convert({.source = directory.path("llama"), .out = directory.path("llama.gguf"), .types = {}, .progress = {}});
  for (const char* base : {"llama", "llama.gguf"}) {
    SCOPED_TRACE(base);
    expect_adapters_run(directory.path(base), plain(kAllLayers), directory.path("adapter"));
    expect_adapters_run(directory.path(base), routed(kAllLayers), directory.path("adapter"));
  }
}

// As PEFT names what it saves of a causal language model.
TEST(ExportAdapter, PlainLoraHasTheNamesAndFieldsOfPeft) {
  const TestDirectory directory;
  LanguageModelShape shape = dense_shape();
  shape.layers = shape.dense_layers = 1;
  shape.adapters = plain({true, false, false, false, false, false, true});
  const LanguageModel model(shape, 3);
  export_adapter(model, "base", directory.path("adapter"));
  std::vector<std::pair<std::string, Shape>> found;
  const SafetensorsFile file = open_safetensors(directory.path("adapter/adapter_model.safetensors"));
  for (const NamedTensor& named : file.tensors.all()) found.emplace_back(named.name, named.tensor.shape);
  const std::string layer = "base_model.model.model.layers.0.";
  EXPECT_EQ(found, (std::vector<std::pair<std::string, Shape>>{{layer + "self_attn.q_proj.lora_A.weight", {3, 32}},
                                                               {layer + "self_attn.q_proj.lora_B.weight", {32, 3}},
                                                               {layer + "mlp.down_proj.lora_A.weight", {3, 64}},
                                                               {layer + "mlp.down_proj.lora_B.weight", {32, 3}}}));
  EXPECT_EQ(parse_json(read_text_file(directory.path("adapter/adapter_config.json"), 1 << 20), "config"),
            Json::parse(R"({"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "base", "r": 3,
                            "lora_alpha": 6.0, "target_modules": ["q_proj", "down_proj"], "bias": "none",
                            "lora_dropout": 0.0, "fan_in_fan_out": false, "inference_mode": true})"));
}

}  // namespace
}  // namespace junto
