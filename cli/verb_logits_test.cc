// `junto logits` of the built program against what the reference implementations computed.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "base/json.h"
#include "cli/test_program.h"
#include "format/safetensors.h"

namespace junto {
namespace {

template <class Value>
std::vector<Value> values_of(const Tensor& tensor) {
  std::vector<Value> values(tensor.bytes.size() / sizeof(Value));
  std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

std::string joined(const std::vector<std::int64_t>& ids) {
  std::string text;
  for (const std::int64_t id : ids) text += (text.empty() ? "" : ",") + std::to_string(id);
  return text;
}

class Logits : public testing::TestWithParam<std::string> {
 protected:
  static constexpr int kTokens = 48;

  void SetUp() override {
    model_ = checkpoint_path(GetParam());
    expected_ = open_safetensors(model_ + "/expected.safetensors");
    const auto ids = values_of<std::int64_t>(*expected_.tensors.find("input_ids"));
    ids_.assign(ids.begin(), ids.begin() + kTokens);
  }

  SafetensorsFile computed(const std::string& chunk) {
    const std::string out = scratch_.path("out" + chunk + ".safetensors");
    const Ran ran = run_junto({"logits", model_, "--ids", joined(ids_), "--out", out, "--kv", "f32", "--activations",
                               "f32", "--chunk", chunk});
    EXPECT_EQ(ran.status, 0) << ran.err;
    EXPECT_EQ(ran.out, "");
    return open_safetensors(out);
  }

  Scratch scratch_;
  std::string model_;
  SafetensorsFile expected_;
  std::vector<std::int64_t> ids_;
};

TEST_P(Logits, AreTheReferencesHoweverThePromptIsCut) {
  const auto expected = values_of<float>(*expected_.tensors.find("logits"));
  for (const char* chunk : {"0", "7", "1"}) {
    const SafetensorsFile file = computed(chunk);
    const Tensor* logits = file.tensors.find("logits");
    ASSERT_NE(logits, nullptr);
    ASSERT_EQ(logits->shape, (Shape{kTokens, 384}));
    ASSERT_EQ(logits->type, DType::kF32);
    const auto values = values_of<float>(*logits);
    float worst = 0;
    for (std::size_t i = 0; i < values.size(); ++i) worst = std::max(worst, std::abs(values[i] - expected[i]));
    EXPECT_LE(worst, 1e-3f) << "chunk " << chunk;
  }
}

TEST_P(Logits, RoutingIsTheReferencesBestFirst) {
  const SafetensorsFile file = computed("7");
  std::size_t compared = 0;
  for (int layer = 0; layer < 8; ++layer) {
    const std::string gate = "router.model.layers." + std::to_string(layer) + ".mlp.gate";
    const Tensor* expected_ids = expected_.tensors.find(gate + ".2");
    const Tensor* ids = file.tensors.find("experts." + std::to_string(layer));
    const Tensor* weights = file.tensors.find("weights." + std::to_string(layer));
    ASSERT_EQ(ids != nullptr, expected_ids != nullptr) << layer;
    ASSERT_EQ(ids != nullptr, weights != nullptr) << layer;
    if (ids == nullptr) continue;
    const std::int64_t k = expected_ids->cols();
    ASSERT_EQ(ids->shape, (Shape{kTokens, k}));
    ASSERT_EQ(weights->shape, (Shape{kTokens, k}));
    ASSERT_EQ(ids->type, DType::kI32);
    const auto want_ids = values_of<std::int64_t>(*expected_ids);
    const auto want_weights = values_of<float>(*expected_.tensors.find(gate + ".1"));
    const auto have_ids = values_of<std::int32_t>(*ids);
    const auto have_weights = values_of<float>(*weights);
    for (int row = 0; row < kTokens; ++row) {
      std::vector<std::pair<float, std::int64_t>> want;
      for (std::int64_t s = 0; s < k; ++s) want.emplace_back(-want_weights[row * k + s], want_ids[row * k + s]);
      std::ranges::sort(want);
      for (std::int64_t s = 0; s < k; ++s) {
        EXPECT_EQ(have_ids[row * k + s], want[s].second) << "layer " << layer << " row " << row << " slot " << s;
        EXPECT_NEAR(have_weights[row * k + s], -want[s].first, 1e-4) << "layer " << layer << " row " << row;
      }
    }
    ++compared;
  }
  const bool routed =
      GetParam() == "mixtral" || GetParam() == "olmoe" || GetParam() == "qwen3_moe" || GetParam() == "deepseek_v3";
  EXPECT_EQ(compared > 0, routed);
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, Logits,
                         testing::Values("llama", "llama-rope3-tied", "mistral-swa", "qwen3", "mixtral", "olmoe",
                                         "qwen3_moe", "deepseek_v3"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

TEST(LogitsOfAttentionExperts, HaveNamesOfTheirOwn) {
  const Scratch scratch;
  const std::string out = scratch.path("out");
  const Ran ran = run_junto({"logits", checkpoint_path("jetmoe"), "--ids", "1,2,3", "--out", out, "--json"});
  ASSERT_EQ(ran.status, 0) << ran.err;
  const Json written = Json::parse(ran.out);
  EXPECT_EQ(written["tokens"], 3);
  const SafetensorsFile file = open_safetensors(out);
  ASSERT_EQ(written["tensors"].size(), file.tensors.size());
  for (const char* name : {"attn_experts.0", "attn_weights.0", "experts.0", "weights.0"}) {
    ASSERT_NE(file.tensors.find(name), nullptr) << name;
    EXPECT_EQ(file.tensors.find(name)->rows(), 3) << name;
  }
}

TEST(LogitsUnderAPolicy, PadWithMinusOne) {
  const Scratch scratch;
  const std::string out = scratch.path("out");
  const Ran ran =
      run_junto({"logits", checkpoint_path("olmoe"), "--ids", "1,2,3,40,50,60", "--out", out, "--policy", "top_p=0.5"});
  ASSERT_EQ(ran.status, 0) << ran.err;
  const SafetensorsFile file = open_safetensors(out);
  bool padded = false;
  for (const char* layer : {"0", "1", "2"}) {
    const Tensor& experts = *file.tensors.find(std::string("experts.") + layer);
    const auto ids = values_of<std::int32_t>(experts);
    const auto weights = values_of<float>(*file.tensors.find(std::string("weights.") + layer));
    const std::int64_t k = experts.cols();
    bool full = false;
    for (std::int64_t row = 0; row < 6; ++row) {
      std::int64_t slots = 0;
      while (slots < k && ids[row * k + slots] >= 0) ++slots;
      EXPECT_GE(slots, 1);
      full = full || slots == k;
      for (std::int64_t s = slots; s < k; ++s) {
        padded = true;
        EXPECT_EQ(ids[row * k + s], -1);
        EXPECT_EQ(weights[row * k + s], 0.0f);
      }
    }
    EXPECT_TRUE(full) << "k is that of the widest row";
  }
  EXPECT_TRUE(padded);
}

TEST(LogitsMisuse, IsOneLineAndNoFile) {
  const Scratch scratch;
  const std::string out = scratch.path("out"), olmoe = checkpoint_path("olmoe");
  EXPECT_EQ(refusal_of({"logits", olmoe, "--ids", "1,x", "--out", out}),
            "--ids: entry 1 is \"x\", expected token ids as in 1,2,3");
  EXPECT_EQ(refusal_of({"logits", olmoe, "--ids", "", "--out", out}),
            "--ids: entry 0 is \"\", expected token ids as in 1,2,3");
  EXPECT_EQ(refusal_of({"logits", olmoe, "--ids", "1,384", "--out", out}), "--ids: entry 1 is 384, expected 0..383");
  EXPECT_EQ(refusal_of({"logits", olmoe, "--ids", "1,2"}), "junto logits needs --out FILE; see junto logits --help");
  EXPECT_EQ(refusal_of({"logits", olmoe, "--ids", "1", "--out", out, "--kv", "f8"}),
            "--kv is f8, expected f32, f16 or q8_0");
  EXPECT_EQ(refusal_of({"logits", olmoe, "--ids", "1", "--out", out, "--policy", "top_q=2"}).substr(0, 8), "--policy");
  std::string long_ids = "1";
  for (int i = 1; i < 257; ++i) long_ids += ",1";
  EXPECT_EQ(refusal_of({"logits", olmoe, "--ids", long_ids, "--out", out}),
            olmoe + ": text has 257 tokens, context is 256");
  EXPECT_FALSE(std::filesystem::exists(out));
  EXPECT_NE(refusal_of({"logits", olmoe, "--ids", "1", "--out", scratch.path("no/such/folder")}).find("no/such/folder"),
            std::string::npos);
  EXPECT_NE(refusal_of({"logits", scratch.path("none"), "--ids", "1", "--out", out}).find("no such file"),
            std::string::npos);
}

}  // namespace
}  // namespace junto
