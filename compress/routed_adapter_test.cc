// Routed adapters from files: each matrix's own router chooses the low-rank experts of a row, over any weights.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numeric>

#include "compress/convert.h"
#include "compress/test_adapters.h"
#include "format/safetensors.h"

namespace junto {
namespace {

constexpr int kExperts = 4;

std::string config_with(const std::string& router) {
  return R"({"peft_type": "ROUTED_LORA", "r": 3, "lora_alpha": 6, "router": )" + router + "}";
}
const std::string kHybrid = config_with(R"({"version": 1, "experts": 4, "score": "softmax", "weigh": "raw",
    "select": {"rule": "top_p", "p": 0.75, "inclusive": false, "min_k": 2},
    "entropy_override": {"kind": "tsallis", "order": 1.1, "threshold": 0.9}})");
const std::string kAllOfWeightOne =
    config_with(R"({"version": 1, "experts": 4, "select": {"rule": "top_k", "k": 4}, "weigh": "constant"})");

const auto kNotKvB = [](const std::string& name) { return name.find("kv_b_proj") == std::string::npos; };

class RoutedAdapter : public testing::TestWithParam<const char*> {};

TEST_P(RoutedAdapter, AllExpertsOfWeightOneAreTheirMergedWeights) {
  AdapterModel model(GetParam());
  model.add("adapter", kAllOfWeightOne, 1.0f, kNotKvB, kExperts);
  const std::vector<std::int32_t> ids = oracle(GetParam()).ids;
  const std::vector<float> found = adapted_logits(model.base(), {{model.path("adapter"), 0.5f}}, ids);
  EXPECT_LE(max_difference(found, model.merged_logits(ids)), 1e-4f);
  EXPECT_GT(max_difference(found, logits_of(model.base(), ids)), 1e-2f);
}

TEST_P(RoutedAdapter, OfThePublishedModelFitsItsConvertedFileAtAnyBudgetOfExperts) {
  AdapterModel model(GetParam());
  model.add("adapter", kHybrid, 2.0f, kNotKvB, kExperts);
  const std::vector<std::int32_t> ids = oracle(GetParam()).ids;
  const std::string file = model.path("model.gguf");
  convert({.source = model.base(), .out = file, .types = {}, .progress = nullptr});
  const std::vector<AdapterRequest> adapter = {{model.path("adapter")}};
  const std::vector<float> found = adapted_logits(file, adapter, ids);
  EXPECT_LE(max_difference(found, adapted_logits(model.base(), adapter, ids)), 1e-4f);
  EXPECT_GT(max_difference(found, logits_of(model.base(), ids)), 1e-2f);
  if (load_model(file)->routed_bytes == 0) return;
  LoadOptions streamed;
  streamed.expert_memory = 60000;
  EXPECT_EQ(adapted_logits(file, adapter, ids, streamed), found);
}

INSTANTIATE_TEST_SUITE_P(Oracles, RoutedAdapter,
                         testing::Values("llama", "qwen2_moe", "qwen3_moe", "deepseek_v3", "gemma3", "granitemoe"));

/// What kHybrid adds to one row, from the tensors of the file alone, in double; how many experts it took.
struct NaiveUpdate {
  std::vector<double> out;
  int experts = 0;
};
NaiveUpdate naive_update(const SafetensorsFile& file, const std::string& module, std::span<const float> x) {
  const auto product = [](const Tensor& matrix, const auto& row) {
    const std::vector<float> values = decode(matrix);
    std::vector<double> out(static_cast<std::size_t>(matrix.rows()), 0.0);
    for (std::size_t i = 0; i < values.size(); ++i)
      out[i / row.size()] += static_cast<double>(values[i]) * row[i % row.size()];
    return out;
  };
  std::vector<double> p = product(*file.tensors.find(module + ".moe_gate.weight"), x);
  double sum = 0.0;
  for (double& value : p) sum += value = std::exp(value);
  for (double& value : p) value /= sum;
  double powers = 0.0;
  for (const double value : p) powers += std::pow(value + 1e-5, 1.1);
  const double entropy = (1.0 - powers) / 0.1, most = (1.0 - std::pow(kExperts, -0.1)) / 0.1;
  std::vector<int> order(kExperts);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int a, int b) { return p[a] > p[b]; });
  NaiveUpdate update;
  double mass = 0.0;
  for (int place = 0; place < kExperts; ++place) {
    const int e = order[place];
    mass += p[e];
    if (entropy / most <= 0.9 && mass > 0.75 && place >= 2) continue;
    const std::string expert = module + ".experts." + std::to_string(e);
    const std::vector<double> low = product(*file.tensors.find(expert + ".lora_A.weight"), x);
    const std::vector<double> added = product(*file.tensors.find(expert + ".lora_B.weight"), low);
    update.out.resize(added.size());
    for (std::size_t n = 0; n < added.size(); ++n) update.out[n] += 6.0 / 3.0 * p[e] * added[n];
    ++update.experts;
  }
  return update;
}

std::vector<float> applied(const Linear& linear, const Matrix<float>& x) {
  ActivationRows rows;
  rows.assign(x.view());
  Matrix<float> out(x.rows, linear.weights.rows);
  ThreadPool pool(2);
  OverlayScratch scratch;
  apply(linear, rows, out.view(), pool, scratch);
  return out.values;
}

TEST(RoutedAdapterRows, TakeTheirOwnExpertsOverQuantisedWeights) {
  AdapterModel model("llama");
  model.add("adapter", kHybrid, 2.0f, kAll, kExperts);
  const std::string base = model.path("base.gguf");
  ConvertOptions options{.source = model.base(), .out = base, .types = {}, .progress = nullptr};
  options.types.type = parse_weight_type("q8_0", "--type");
  convert(options);
  LoadOptions with;
  with.adapters = {{model.path("adapter")}};
  const auto plain = load_model(base), adapted = load_model(base, with);
  const SafetensorsFile file = open_safetensors(model.path("adapter/adapter_model.safetensors"));
  std::map<int, int> rows_of;  // by how many experts they took
  std::mt19937 random(5);
  std::normal_distribution<float> normal(0.0f, 1.5f);
  for (const std::size_t block : {0, 1}) {
    const auto linears = [&](const Model& m) {
      const auto& attention = std::get<AttentionWeights>(m.blocks[block].mixer);
      const ExpertWeights& network = m.blocks[block].dense;
      return std::map<std::string, const Linear*>{{"self_attn.v_proj", &attention.v},
                                                  {"self_attn.o_proj", &attention.output},
                                                  {"mlp.gate_proj", &network.gate},
                                                  {"mlp.up_proj", &network.up},
                                                  {"mlp.down_proj", &network.down}};
    };
    for (const auto& [name, linear] : linears(*adapted)) {
      Matrix<float> x(40, linear->weights.cols);
      for (float& value : x.values) value = normal(random);
      const std::vector<float> found = applied(*linear, x), without = applied(*linears(*plain).at(name), x);
      const std::string module = "base_model.model.model.layers." + std::to_string(block) + "." + name;
      for (std::int64_t row = 0; row < x.rows; ++row) {
        const NaiveUpdate update = naive_update(file, module, x.view().row(row));
        ++rows_of[update.experts];
        for (std::size_t n = 0; n < update.out.size(); ++n) {
          const std::size_t at = static_cast<std::size_t>(row) * update.out.size() + n;
          ASSERT_NEAR(found[at], without[at] + update.out[n], 1e-4) << name << " row " << row;
        }
      }
    }
  }
  EXPECT_GT(rows_of[2], 20);
  EXPECT_GT(rows_of[4], 20);
}

TEST(RoutedAdapterLoad, ASavedSequenceFitsNoOtherRouter) {
  AdapterModel model("llama");
  model.add("adapter", kHybrid, 2.0f, kAll, kExperts);
  LoadOptions with;
  with.adapters = {{model.path("adapter")}};
  const std::uint64_t fingerprint = load_model(model.base(), with)->fingerprint;
  model.put("adapter/adapter_config.json", kAllOfWeightOne);
  EXPECT_NE(load_model(model.base(), with)->fingerprint, fingerprint);
}

class BadRoutedAdapter : public testing::Test {
 protected:
  void SetUp() override {
    put(kUp + ".moe_gate.weight", {2, 64});
    for (const char* expert : {".experts.0", ".experts.1"}) {
      put(kUp + expert + ".lora_A.weight", {3, 64});
      put(kUp + expert + ".lora_B.weight", {96, 3});
    }
  }

  void put(const std::string& name, const Shape& shape) { shapes_[name] = shape; }

  /// What loading it over `model` ends in, after the file's name.
  std::string error(const std::string& router = R"({"version": 1, "experts": 2})", const std::string& model = "llama") {
    directory_.put("adapter_config.json", config_with(router));
    std::vector<TensorToWrite> tensors;
    for (const auto& [name, shape] : shapes_) tensors.push_back(to_write(name, random_values(shape, 1)));
    write_safetensors(directory_.path("adapter_model.safetensors"), tensors);
    const std::string text = error_of([&] { adapted_logits(kOracles + model, {{directory_.path()}}, {1}); });
    const std::string folder = directory_.path("");
    return text.starts_with(folder) ? text.substr(text.find(": ") + 2) : text;
  }

  const std::string kUp = "base_model.model.model.layers.1.mlp.up_proj";
  std::map<std::string, Shape> shapes_;
  TestDirectory directory_;
};

TEST_F(BadRoutedAdapter, MissingPartsAreNamed) {
  EXPECT_EQ(error(), "no error");
  EXPECT_EQ(error(R"({"version": 1, "experts": 3})"),
            "model.layers.1.mlp.up_proj has 2 experts, expected 3 (router.experts of adapter_config.json)");
  EXPECT_EQ(error(R"({"version": 1, "experts": 1})"),
            "tensor \"" + kUp +
                ".experts.1.lora_A.weight\" is of expert 1, expected 0..0 (router.experts of "
                "adapter_config.json)");
  shapes_.erase(kUp + ".experts.1.lora_B.weight");
  EXPECT_EQ(error(), "tensor \"" + kUp +
                         ".experts.1.lora_A.weight\" stands alone, expected A and B of "
                         "model.layers.1.mlp.up_proj");
  SetUp();
  shapes_.erase(kUp + ".moe_gate.weight");
  EXPECT_EQ(error(), "model.layers.1.mlp.up_proj has no moe_gate.weight, expected one beside its experts");
  shapes_ = {{kUp + ".moe_gate.weight", {2, 64}}};
  EXPECT_EQ(error(), "model.layers.1.mlp.up_proj has 0 experts, expected 2 (router.experts of adapter_config.json)");
}

TEST_F(BadRoutedAdapter, ShapesAreNamed) {
  put(kUp + ".moe_gate.weight", {2, 63});
  EXPECT_EQ(error(), "tensor \"" + kUp + ".moe_gate.weight\" has shape [2, 63], expected [2, 64]");
  put(kUp + ".moe_gate.weight", {3, 64});
  EXPECT_EQ(error(), "tensor \"" + kUp + ".moe_gate.weight\" has shape [3, 64], expected [2, 64]");
  SetUp();
  put(kUp + ".experts.1.lora_B.weight", {95, 3});
  EXPECT_EQ(error(), "tensor \"" + kUp + ".experts.1.lora_B.weight\" and its A are of another matrix than tensor \"" +
                         kUp + ".experts.0.lora_B.weight\"");
  put(kUp + ".experts.0.lora_B.weight", {95, 3});
  EXPECT_NE(error().find("has shape [95, 3] for blk.1.ffn_up.weight, expected [96, 3]"), std::string::npos);
  SetUp();
  put(kUp + ".experts.1.lora_B.weight", {96, 2});
  EXPECT_NE(error().find("expected [r, K] and [N, r]"), std::string::npos);
  SetUp();
  put(kUp + ".experts.1.lora_A.weight", {2, 64});
  put(kUp + ".experts.1.lora_B.weight", {96, 2});
  EXPECT_EQ(error(), "no error");  // experts may have ranks of their own
}

TEST_F(BadRoutedAdapter, NamesAreChecked) {
  for (const char* name : {".lora_A.weight", ".experts.01.lora_A.weight", ".experts.-1.lora_A.weight",
                           ".experts..lora_A.weight", ".experts.99999999999999999999.lora_B.weight"}) {
    SetUp();
    put(kUp + name, {3, 64});
    EXPECT_EQ(error(), tensor_label(kUp + name) +
                           " is unknown, expected names that end in .moe_gate.weight, .experts.<e>.lora_A.weight or "
                           ".experts.<e>.lora_B.weight");
    shapes_.clear();
  }
  SetUp();
  put("model.layers.1.mlp.up_proj.moe_gate.weight", {2, 64});
  EXPECT_NE(error().find("is also there as tensor"), std::string::npos);
}

TEST_F(BadRoutedAdapter, RoutersThatALayerByItselfCannotHaveAreNamed) {
  const auto with = [&](const std::string& fields) { return error(R"({"version": 1, "experts": 2, )" + fields + "}"); };
  EXPECT_EQ(with(R"("selection_bias": true)"), "router: selection_bias is true, expected false: none is stored");
  EXPECT_EQ(with(R"("logits": "cosine")"), "router: logits is not linear, expected linear");
  EXPECT_EQ(with(R"("logit_residual": true)"),
            "router: logit_residual is true, expected false: there is no routing below");
  EXPECT_EQ(with(R"("select": {"rule": "given", "k": 1})"),
            "router: select is given, expected a rule on scores: the layer sees no tokens");
  EXPECT_EQ(with(R"("select": {"rule": "expert_choice"})"),
            "router: select is expert_choice, expected a rule for each row by itself");
  EXPECT_EQ(with(R"("weight_on": "input")"), "router: weight_on is input, expected output");
  EXPECT_EQ(with(R"("prune": {"rule": "capacity"})"), "router: prune is set, expected none");
  EXPECT_EQ(with(R"("select": {"rule": "top_k", "k": 3})").substr(0, 7), "router:");
  directory_.put("adapter_config.json", R"({"peft_type": "ROUTED_LORA", "lora_alpha": 1})");
  EXPECT_EQ(error_of([&] { adapted_logits(kOracles + "llama", {{directory_.path()}}, {1}); }),
            directory_.path("adapter_config.json") + ": router is missing, expected how adapted layers route");
}

// Its halves are multiplied apart, one of them transposed: no row of kv_b's own input is left to route by.
TEST_F(BadRoutedAdapter, NoneIsAttachedToKvBOfLatentAttention) {
  shapes_.clear();
  const auto base = open_checkpoint(kOracles + "deepseek_v3");
  const std::string module = "model.layers.0.self_attn.kv_b_proj";
  for (const NamedTensor& named : base.tensors()) {
    if (named.name != module + ".weight") continue;
    put(module + ".moe_gate.weight", {2, named.tensor.cols()});
    for (const char* expert : {".experts.0", ".experts.1"}) {
      put(module + expert + ".lora_A.weight", {3, named.tensor.cols()});
      put(module + expert + ".lora_B.weight", {named.tensor.rows(), 3});
    }
  }
  EXPECT_EQ(error(R"({"version": 1, "experts": 2})", "deepseek_v3"),
            "tensor \"" + module +
                ".moe_gate.weight\" is of blk.0.attn_kv_b.weight, which is split and multiplied "
                "transposed, expected no routed adapter there");
}

}  // namespace
}  // namespace junto
