// A model with adapters computes what the model with merged weights computes: every kind of layer, converted,
// quantised and streamed bases.
#include "model/adapter.h"

#include <gtest/gtest.h>

#include <cmath>

#include "compress/convert.h"
#include "compress/test_adapters.h"
#include "format/gguf.h"

namespace junto {
namespace {

class Adapter : public testing::TestWithParam<const char*> {};

TEST_P(Adapter, ComputesWhatMergedWeightsCompute) {
  AdapterModel model(GetParam());
  model.add("adapter", kPlainConfig, 2.0f, kAll);
  const std::vector<std::int32_t> ids = oracle(GetParam()).ids;
  const std::vector<float> found = adapted_logits(model.base(), {{model.path("adapter")}}, ids);
  EXPECT_LE(max_difference(found, model.merged_logits(ids)), 1e-4f);
  EXPECT_GT(max_difference(found, logits_of(model.base(), ids)), 1e-2f);
}

// Converted files rename, stack and reorder: the adapter's names are those of the published model all the same.
TEST_P(Adapter, OfThePublishedModelFitsItsConvertedFile) {
  AdapterModel model(GetParam());
  model.add("adapter", kPlainConfig, 2.0f,
            [](const std::string& name) { return name.find("kv_b_proj") == std::string::npos; });
  const std::vector<std::int32_t> ids = oracle(GetParam()).ids;
  const std::string file = model.path("model.gguf");
  convert({.source = model.base(), .out = file, .types = {}, .progress = nullptr});
  const std::vector<float> found = adapted_logits(file, {{model.path("adapter")}}, ids);
  EXPECT_LE(max_difference(found, adapted_logits(model.base(), {{model.path("adapter")}}, ids)), 1e-4f);
}

INSTANTIATE_TEST_SUITE_P(Oracles, Adapter,
                         testing::Values("llama", "llama-rope3-tied", "mistral-swa", "qwen2_moe", "qwen3_moe", "olmoe",
                                         "gemma3", "deepseek_v2", "deepseek_v3", "granitemoe", "gpt_oss", "glm4_moe"));

TEST(AdapterScale, FollowsTheConfigurationAndTheRequest) {
  const auto ids = oracle("llama").ids;
  const auto is_up = [](const std::string& name) { return name.find("up_proj") != std::string::npos; };
  struct Case {
    const char* config;
    float of_up, of_others;
  };
  const float root = 6.0f / std::sqrt(3.0f);
  for (const Case& c : {Case{R"({"peft_type": "LORA", "lora_alpha": 6, "use_rslora": true})", root, root},
                        Case{R"({"peft_type": "LORA", "lora_alpha": 6, "alpha_pattern": {"up_proj": 9}})", 3, 2},
                        Case{R"({"peft_type": "LORA", "lora_alpha": 6, "modules_to_save": null})", 2, 2}}) {
    AdapterModel model("llama");
    model.add("adapter", c.config, 0.5f * c.of_up, is_up);
    model.add("second", c.config, -c.of_others, [&](const std::string& name) { return !is_up(name); });
    const auto found =
        adapted_logits(model.base(), {{model.path("adapter"), 0.5f}, {model.path("second"), -1.0f}}, ids);
    EXPECT_LE(max_difference(found, model.merged_logits(ids)), 1e-4f) << c.config;
  }
}

TEST(AdapterScale, SeveralOnOneLayerAddUp) {
  const auto ids = oracle("qwen3_moe").ids;
  AdapterModel model("qwen3_moe");
  model.add("adapter", kPlainConfig, 1.0f, kAll);
  model.add("second", kPlainConfig, 2.0f, kAll);
  const auto found = adapted_logits(model.base(), {{model.path("adapter"), 0.5f}, {model.path("second")}}, ids);
  EXPECT_LE(max_difference(found, model.merged_logits(ids)), 1e-4f);
}

/// A GGUF adapter of every linear layer of a GGUF file, stacks as stacks, and the file with it merged in float.
void write_gguf_adapter(const GgufFile& base, const std::string& adapter, const std::string& merged_file) {
  Metadata metadata;
  metadata.add("general.type", std::string("adapter"));
  metadata.add("general.architecture", base.metadata.required_string("general.architecture"));
  metadata.add("adapter.type", std::string("lora"));
  metadata.add("adapter.lora.alpha", 6.0f);
  std::vector<TensorToWrite> updates, all;
  std::uint32_t seed = 1;
  for (const NamedTensor& named : base.tensors.all()) {
    const Tensor& w = named.tensor;
    if (w.shape.size() < 2 || !named.name.starts_with("blk.")) {
      all.push_back(to_write(named.name, make_tensor(w.shape, decode(w))));
      continue;
    }
    Shape a_shape = w.shape, b_shape = w.shape;
    a_shape[a_shape.size() - 2] = kRank;
    b_shape.back() = kRank;
    const Tensor a = random_values(a_shape, ++seed), b = random_values(b_shape, ++seed);
    updates.push_back(to_write(named.name + ".lora_a", a));
    updates.push_back(to_write(named.name + ".lora_b", b));
    all.push_back(to_write(named.name, merged(w, a, b, 2.0f)));
  }
  write_gguf(adapter, metadata, updates);
  write_gguf(merged_file, base.metadata, all);
}

TEST(AdapterGguf, OverQuantisedWeightsIsTheirMergedFloatForm) {
  for (const char* name : {"llama", "olmoe", "qwen2_moe"}) {
    TestDirectory directory;
    const std::string base = directory.path("base.gguf"), adapter = directory.path("adapter.gguf");
    ConvertOptions options{.source = kOracles + name, .out = base, .types = {}, .progress = nullptr};
    options.types.type = parse_weight_type("q8_0", "--type");
    convert(options);
    write_gguf_adapter(open_gguf(base), adapter, directory.path("merged.gguf"));
    const auto ids = oracle(name).ids;
    const std::vector<float> expected = logits_of(directory.path("merged.gguf"), ids);
    const std::vector<float> found = adapted_logits(base, {{adapter}}, ids);
    EXPECT_LE(max_difference(found, expected), 1e-4f) << name;
    EXPECT_GT(max_difference(found, logits_of(base, ids)), 1e-2f) << name;
    EXPECT_EQ(adapted_logits(base, {{adapter, 0.0f}}, ids), logits_of(base, ids)) << name;
    if (std::string(name) == "llama") continue;
    for (const std::int64_t budget : {60000, 10000000}) {
      LoadOptions streamed;
      streamed.expert_memory = budget;
      EXPECT_EQ(adapted_logits(base, {{adapter}}, ids, streamed), found) << name << " " << budget;
    }
  }
}

TEST(AdapterLoad, ChangesWhatASavedSequenceFits) {
  AdapterModel model("llama");
  model.add("adapter", kPlainConfig, 2.0f, kAll);
  LoadOptions with;
  with.adapters = {{model.path("adapter")}};
  const auto plain = load_model(model.base()), adapted = load_model(model.base(), with);
  EXPECT_NE(plain->fingerprint, adapted->fingerprint);
  EXPECT_GT(adapted->block_bytes, plain->block_bytes);
  with.adapters[0].scale = 0.5f;
  EXPECT_NE(load_model(model.base(), with)->fingerprint, adapted->fingerprint);
}

class BadAdapter : public testing::Test {
 protected:
  std::string error(const std::string& path) const {
    return error_of([&] { adapted_logits(kOracles + "llama", {{path}}, {1}); });
  }

  /// Writes one update, A [a, k] and B [n, b], of `module`; the error that it ends in, after the file's name.
  std::string of(const std::string& module, Shape a, Shape b, const std::string& config = kPlainConfig) {
    directory_.put("adapter_config.json", config);
    const std::string file = directory_.path("adapter_model.safetensors");
    write_safetensors(file, {to_write(module + ".lora_A.weight", random_values(a, 1)),
                             to_write(module + ".lora_B.weight", random_values(b, 2))});
    std::string text = error(directory_.path());
    for (const std::string& name : {file, directory_.path("adapter_config.json")}) {
      if (text.starts_with(name + ": ")) return text.substr(name.size() + 2);
    }
    return text;
  }

  TestDirectory directory_;
};

const std::string kUp = "base_model.model.model.layers.1.mlp.up_proj";

TEST_F(BadAdapter, ShapesAreNamed) {
  EXPECT_EQ(of(kUp, {3, 64}, {96, 3}), "no error");
  EXPECT_EQ(of(kUp, {3, 32}, {96, 3}), "tensor \"" + kUp +
                                           ".lora_A.weight\" has shape [3, 32] for blk.1.ffn_up.weight, expected "
                                           "[3, 64]");
  EXPECT_EQ(of(kUp, {3, 64}, {64, 3}), "tensor \"" + kUp +
                                           ".lora_B.weight\" has shape [64, 3] for blk.1.ffn_up.weight, expected "
                                           "[96, 3]");
  EXPECT_EQ(of(kUp, {3, 64}, {96, 4}), "tensor \"" + kUp + ".lora_A.weight\" has shape [3, 64] and tensor \"" + kUp +
                                           ".lora_B.weight\" [96, 4], expected [r, K] and [N, r]");
}

TEST_F(BadAdapter, LayersThatTheModelDoesNotHaveAreNamed) {
  EXPECT_NE(of("base_model.model.model.layers.9.mlp.up_proj", {3, 64}, {96, 3}).find("is of no layer of"),
            std::string::npos);
  EXPECT_NE(of("base_model.model.model.layers.1.mlp.w9", {3, 64}, {96, 3}).find("is unknown to this architecture"),
            std::string::npos);
  EXPECT_EQ(of("base_model.model.model.layers.1.mlp.experts.2.up_proj", {3, 64}, {96, 3}),
            "tensor \"base_model.model.model.layers.1.mlp.experts.2.up_proj.lora_B.weight\" changes "
            "blk.1.ffn_up.2.weight, which is no linear layer that this model computes with");
}

TEST_F(BadAdapter, OtherKindsAreRefusedByField) {
  const auto field = [&](const std::string& config) { return of(kUp, {3, 64}, {96, 3}, config); };
  EXPECT_EQ(field(R"({"peft_type": "IA3"})"), "peft_type is \"IA3\", expected \"LORA\" or \"ROUTED_LORA\"");
  EXPECT_EQ(field(R"({"peft_type": "LORA"})"), "lora_alpha is null, expected a number above 0");
  EXPECT_EQ(field(R"({"peft_type": "LORA", "lora_alpha": 8, "use_dora": true})"),
            "use_dora is true, expected plain LoRA without it");
  EXPECT_NE(field(R"({"peft_type": "LORA", "lora_alpha": 8, "init_lora_weights": "pissa"})")
                .find("init_lora_weights is \"pissa\", which changes the base's weights"),
            std::string::npos);
  EXPECT_NE(field(R"({"peft_type": "LORA", "lora_alpha": 8, "alpha_pattern": {"up_proj$": 4}})").find("alpha_pattern"),
            std::string::npos);
  EXPECT_EQ(field("[]"), "holds no object, expected one with peft_type and lora_alpha");
}

TEST_F(BadAdapter, FilesAreNamed) {
  const std::string missing = directory_.path("none");
  EXPECT_EQ(error(missing), missing + ": no such file or directory, expected a PEFT directory or a GGUF adapter");
  EXPECT_NE(error(directory_.path()).find("adapter_config.json"), std::string::npos);
  directory_.put("adapter_model.bin", "");
  EXPECT_EQ(error(directory_.path()), directory_.path() +
                                          ": holds PyTorch weights (adapter_model.bin), expected "
                                          "adapter_model.safetensors");
  Metadata metadata;
  metadata.add("general.type", std::string("model"));
  const std::string file = directory_.path("model.gguf");
  write_gguf(file, metadata, {});
  EXPECT_EQ(error(file), file + ": general.type is \"model\", expected \"adapter\"");
  metadata.set("general.type", std::string("adapter"));
  metadata.add("adapter.type", std::string("lora"));
  write_gguf(file, metadata, {});
  EXPECT_EQ(error(file), file + ": is an adapter of GGUF models, expected a PEFT directory for " + kOracles + "llama");
}

TEST(AdapterRequests, HaveAScaleAfterTheLastColon) {
  EXPECT_EQ(parse_adapter_request("a/b").path, "a/b");
  EXPECT_EQ(parse_adapter_request("a/b").scale, 1.0f);
  EXPECT_EQ(parse_adapter_request("a:b:-0.5").path, "a:b");
  EXPECT_EQ(parse_adapter_request("a:b:-0.5").scale, -0.5f);
  EXPECT_EQ(error_of([] { parse_adapter_request("a:x"); }),
            "a:x: \"x\" after the colon is no scale, expected a number as in FILE:0.5");
  EXPECT_THROW(parse_adapter_request("a:"), Error);
  EXPECT_THROW(parse_adapter_request("a:inf"), Error);
}

}  // namespace
}  // namespace junto
