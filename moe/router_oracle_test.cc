// Routers of real architectures: logits, weights and chosen experts as transformers 5 computed them (testdata/oracles).
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "format/safetensors.h"
#include "moe/route.h"

namespace junto {
namespace {

struct RouterOracle {
  const char* checkpoint;
  RouterSpec spec;
  // Outputs of the router module that hold logits, weights [T, k] and ids [T, k].
  const char* logits = ".0";
  const char* weights = ".1";
  const char* ids = ".2";
};

constexpr auto kRaw = Weigh::kRaw;
constexpr auto kRenormalised = Weigh::kRenormalised;
constexpr auto kSoftmaxOfChosen = Weigh::kSoftmaxOfChosen;

const RouterOracle kOracles[] = {
    {"afmoe",
     {.experts = 8,
      .score = Score::kSigmoid,
      .selection_bias = true,
      .select = TopK{3},
      .weigh = kRenormalised,
      .renormalise_eps = 1e-20f}},
    {"deepseek_v2", {.experts = 8, .select = TopK{3}, .weigh = kRaw}},
    {"deepseek_v3",
     {.experts = 16,
      .score = Score::kSigmoid,
      .selection_bias = true,
      .select = GroupLimited{.k = 4, .groups = 4, .top_groups = 2},
      .weigh = kRenormalised,
      .renormalise_eps = 1e-20f,
      .scale = 2.5f}},
    {"dots1",
     {.experts = 8,
      .score = Score::kSigmoid,
      .selection_bias = true,
      .select = GroupLimited{.k = 3},
      .weigh = kRenormalised,
      .renormalise_eps = 1e-20f,
      .scale = 2.5f}},
    {"ernie4_5_moe",
     {.experts = 8, .selection_bias = true, .select = TopK{3}, .weigh = kRenormalised, .renormalise_min = 1e-12f}},
    {"flex_olmo", {.experts = 6, .select = TopK{3}, .weigh = kRaw}},
    {"glm4_moe",
     {.experts = 8,
      .score = Score::kSigmoid,
      .selection_bias = true,
      .select = GroupLimited{.k = 3},
      .weigh = kRenormalised,
      .renormalise_eps = 1e-20f,
      .scale = 1.5f}},
    {"gpt_oss", {.experts = 8, .score = Score::kLogit, .select = TopK{2}, .weigh = kSoftmaxOfChosen}},
    {"granitemoe", {.experts = 8, .score = Score::kLogit, .select = TopK{3}, .weigh = kSoftmaxOfChosen}},
    {"hunyuan_v1_moe", {.experts = 6, .select = TopK{2}, .weigh = kRenormalised}},
    {"lfm2_moe",
     {.experts = 8,
      .score = Score::kSigmoid,
      .selection_bias = true,
      .select = TopK{3},
      .weigh = kRenormalised,
      .renormalise_eps = 1e-6f}},
    {"longcat_flash", {.experts = 12, .selection_bias = true, .select = TopK{4}, .weigh = kRaw, .scale = 3.0f}},
    {"minimax_m2",
     {.experts = 8, .score = Score::kSigmoid, .selection_bias = true, .select = TopK{3}, .weigh = kRenormalised}},
    {"mixtral", {.experts = 6, .select = TopK{2}, .weigh = kRenormalised}},
    {"olmoe", {.experts = 16, .select = TopK{4}, .weigh = kRaw}},
    {"phimoe", {.experts = 6, .score = Score::kLogit, .select = SparseMixer{2, 0.01f}}},
    {"qwen2_moe", {.experts = 8, .select = TopK{3}, .weigh = kRaw}},
    {"qwen3_moe", {.experts = 16, .select = TopK{4}, .weigh = kRenormalised}},
};

NamedTensors open(const char* checkpoint, const char* file) {
  return open_safetensors(std::string(JUNTO_SOURCE_DIR "/testdata/oracles/checkpoints/") + checkpoint + "/" + file)
      .tensors;
}

std::vector<std::int64_t> integers(const Tensor& tensor) {
  std::vector<std::int64_t> values(tensor.values());
  EXPECT_EQ(tensor.type, DType::kI64);
  std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

/// The stored selection bias of the router's layer: the only tensor of "layers.N." that is called so.
std::vector<float> selection_bias(const NamedTensors& model, const std::string& router) {
  const std::size_t begin = router.find("layers."), end = router.find('.', begin + 7);
  const std::string layer = router.substr(begin, end + 1 - begin);
  for (const NamedTensor& named : model.all()) {
    if (named.name.find(layer) == std::string::npos) continue;
    if (named.name.ends_with("e_score_correction_bias") || named.name.ends_with("expert_bias")) {
      return decode(named.tensor);
    }
  }
  return {};
}

/// "router.<module>" of every router that the oracle recorded.
std::vector<std::string> routers(const NamedTensors& expected, std::string_view logits) {
  std::vector<std::string> names;
  for (const NamedTensor& named : expected.all()) {
    if (named.name.starts_with("router.") && named.name.ends_with(logits)) {
      names.push_back(named.name.substr(0, named.name.size() - logits.size()));
    }
  }
  return names;
}

RoutePlan route_all(const RouterSpec& spec, const Tensor& logits, std::span<const float> bias) {
  std::vector<float> values = decode(logits);
  RouteScratch scratch;
  RoutePlan plan;
  route(spec, {}, {values.data(), logits.rows(), logits.cols()}, bias, scratch, plan);
  return plan;
}

using Slots = std::vector<std::pair<float, std::int64_t>>;  // (-weight, id): sorts as slots stand

void expect_slots(const RoutePlan& plan, std::int64_t unit, Slots expected, const std::string& name) {
  std::sort(expected.begin(), expected.end());
  ASSERT_EQ(plan.experts_of(unit).size(), expected.size()) << name << " unit " << unit;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(plan.weights_of(unit)[i], -expected[i].first, 1e-6) << name << " unit " << unit;
    EXPECT_EQ(plan.experts_of(unit)[i], expected[i].second) << name << " unit " << unit;
  }
}

class RouterOracles : public testing::TestWithParam<RouterOracle> {};

TEST_P(RouterOracles, AgreesWithTransformers) {
  const RouterOracle& oracle = GetParam();
  check_router_spec(oracle.spec, oracle.checkpoint);
  const NamedTensors expected = open(oracle.checkpoint, "expected.safetensors");
  const NamedTensors model = open(oracle.checkpoint, "model.safetensors");
  const std::vector<std::string> names = routers(expected, oracle.logits);
  ASSERT_FALSE(names.empty());
  for (const std::string& name : names) {
    const std::vector<float> bias = oracle.spec.selection_bias ? selection_bias(model, name) : std::vector<float>();
    ASSERT_EQ(bias.size(), oracle.spec.selection_bias ? static_cast<std::size_t>(oracle.spec.experts) : 0u);
    const Tensor& logits = *expected.find(name + oracle.logits);
    ASSERT_EQ(logits.cols(), oracle.spec.experts);
    const RoutePlan plan = route_all(oracle.spec, logits, bias);
    const std::vector<float> weights = decode(*expected.find(name + oracle.weights));
    const std::vector<std::int64_t> ids = integers(*expected.find(name + oracle.ids));
    const std::int64_t k = expected.find(name + oracle.ids)->cols();
    for (std::int64_t unit = 0; unit < logits.rows(); ++unit) {
      Slots slots;
      for (std::int64_t i = unit * k; i < (unit + 1) * k; ++i) slots.emplace_back(-weights[i], ids[i]);
      expect_slots(plan, unit, slots, name);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, RouterOracles, testing::ValuesIn(kOracles),
                         [](const auto& param) { return std::string(param.param.checkpoint); });

// Llama 4 hands out scores [T, E], 0 where not chosen, then logits.
TEST(RouterOracle, Llama4WeighsInputsBySigmoids) {
  const RouterSpec spec{
      .experts = 4, .score = Score::kSigmoid, .select = TopK{1}, .weigh = kRaw, .weight_on = WeightOn::kInput};
  const NamedTensors expected = open("llama4", "expected.safetensors");
  const std::vector<std::string> names = routers(expected, ".1");
  ASSERT_FALSE(names.empty());
  for (const std::string& name : names) {
    const Tensor& logits = *expected.find(name + ".1");
    const RoutePlan plan = route_all(spec, logits, {});
    const std::vector<float> scores = decode(*expected.find(name + ".0"));
    for (std::int64_t unit = 0; unit < logits.rows(); ++unit) {
      Slots slots;
      for (std::int64_t e = 0; e < 4; ++e) {
        if (scores[unit * 4 + e] > 0.0f) slots.emplace_back(-scores[unit * 4 + e], e);
      }
      expect_slots(plan, unit, slots, name);
    }
  }
}

// JetMoE hands out slots sorted by expert: .1 is the token of each, .2 its gate, .4 the logits.
TEST(RouterOracle, JetMoeIsASoftmaxOfTheChosen) {
  const RouterSpec spec{.experts = 4, .score = Score::kLogit, .select = TopK{2}, .weigh = kSoftmaxOfChosen};
  const NamedTensors expected = open("jetmoe", "expected.safetensors");
  const std::vector<std::string> names = routers(expected, ".4");
  ASSERT_FALSE(names.empty());
  for (const std::string& name : names) {
    const Tensor& logits = *expected.find(name + ".4");
    const RoutePlan plan = route_all(spec, logits, {});
    const std::vector<std::int64_t> tokens = integers(*expected.find(name + ".1"));
    const std::vector<float> gates = decode(*expected.find(name + ".2"));
    std::vector<std::vector<float>> of_token(logits.rows());
    for (std::size_t i = 0; i < tokens.size(); ++i) of_token.at(tokens[i]).push_back(gates[i]);
    for (std::int64_t unit = 0; unit < logits.rows(); ++unit) {
      std::sort(of_token[unit].rbegin(), of_token[unit].rend());
      ASSERT_EQ(plan.weights_of(unit).size(), of_token[unit].size());
      for (std::size_t i = 0; i < of_token[unit].size(); ++i) {
        EXPECT_NEAR(plan.weights_of(unit)[i], of_token[unit][i], 1e-6);
      }
    }
  }
}

}  // namespace
}  // namespace junto
