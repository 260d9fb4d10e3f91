// A model with adapters computes what the model with merged weights computes: every kind of layer, converted,
// quantised and streamed bases.
#include "model/adapter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <random>

#include "compress/convert.h"
#include "compress/test_models.h"
#include "format/gguf.h"
#include "format/test_directory.h"

namespace junto {
namespace {

constexpr std::int64_t kRank = 3;

Tensor random_values(const Shape& shape, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 0.1f);
  Tensor empty;
  empty.shape = shape;
  std::vector<float> values(empty.values());
  for (float& value : values) value = normal(random);
  return make_tensor(shape, std::move(values));
}

/// W + scale * B A, of a matrix or of each of a stack.
Tensor merged(const Tensor& w, const Tensor& a, const Tensor& b, float scale) {
  std::vector<float> values = decode(w);
  const std::vector<float> left = decode(b), right = decode(a);
  const std::int64_t k = w.cols(), n = w.rows(), per_stack = w.shape[w.shape.size() - 2];
  for (std::int64_t row = 0; row < n; ++row) {
    for (std::int64_t j = 0; j < kRank; ++j) {
      const float factor = scale * left[row * kRank + j];
      const std::int64_t a_row = row / per_stack * kRank + j;
      for (std::int64_t c = 0; c < k; ++c) values[row * k + c] += factor * right[a_row * k + c];
    }
  }
  return make_tensor(w.shape, std::move(values));
}

bool is_linear(const NamedTensor& named) {
  return named.tensor.shape.size() == 2 && named.name.ends_with(".weight") && named.name != "model.embed_tokens.weight";
}

/// A published model in a directory of its own, adapters beside it, and the model merged with them.
class AdapterModel {
 public:
  explicit AdapterModel(const std::string& name) : base_(kOracles + name), tensors_(open_checkpoint(base_).tensors()) {
    for (const char* folder : {"merged", "adapter", "second"}) std::filesystem::create_directory(path(folder));
    std::filesystem::copy_file(base_ + "/config.json", path("merged/config.json"));
  }

  std::string path(const std::string& name) const { return directory_.path(name); }
  const std::string& base() const { return base_; }

  /// Adds a random update to every linear layer that `wanted` takes and merges it times `scale`.
  template <class Wanted>
  void add(const std::string& folder, const std::string& config, float scale, const Wanted& wanted) {
    directory_.put(folder + "/adapter_config.json", config);
    std::vector<TensorToWrite> adapter;
    std::uint32_t seed = static_cast<std::uint32_t>(std::hash<std::string>()(folder));
    for (NamedTensor& named : tensors_) {
      if (!is_linear(named) || !wanted(named.name)) continue;
      const Tensor a = random_values({kRank, named.tensor.cols()}, ++seed);
      const Tensor b = random_values({named.tensor.rows(), kRank}, ++seed);
      const std::string module = named.name.substr(0, named.name.size() - std::string(".weight").size());
      adapter.push_back(to_write("base_model.model." + module + ".lora_A.weight", a));
      adapter.push_back(to_write("base_model.model." + module + ".lora_B.weight", b));
      named.tensor = merged(named.tensor, a, b, scale);
    }
    ASSERT_FALSE(adapter.empty());
    write_safetensors(path(folder + "/adapter_model.safetensors"), adapter);
  }

  std::vector<float> merged_logits(const std::vector<std::int32_t>& ids) const {
    std::vector<TensorToWrite> all;
    for (const NamedTensor& named : tensors_) all.push_back(to_write(named.name, named.tensor));
    write_safetensors(path("merged/model.safetensors"), all);
    return logits_of(path("merged"), ids);
  }

  void put(const std::string& name, std::string_view text) const { directory_.put(name, text); }

 private:
  TestDirectory directory_;
  std::string base_;
  std::vector<NamedTensor> tensors_;
};

const auto kAll = [](const std::string&) { return true; };
const char* const kPlainConfig = R"({"peft_type": "LORA", "r": 3, "lora_alpha": 6})";

std::vector<float> adapted_logits(const std::string& model, const std::vector<AdapterRequest>& adapters,
                                  const std::vector<std::int32_t>& ids, LoadOptions options = {}) {
  options.adapters = adapters;
  return logits_of(load_model(open_checkpoint(model), options), ids);
}

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
  EXPECT_EQ(field(R"({"peft_type": "IA3"})"), "peft_type is \"IA3\", expected \"LORA\"");
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
