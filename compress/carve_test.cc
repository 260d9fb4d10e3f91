#include "compress/carve.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/error.h"
#include "base/random.h"
#include "compress/carve_statistics.h"
#include "compress/carve_tensors.h"
#include "compress/test_models.h"
#include "format/test_directory.h"
#include "tensor/half.h"

namespace junto {
namespace {

CarveOptions carving(const std::string& name, const std::string& out) {
  CarveOptions options;
  options.source = kOracles + name;
  options.out = out;
  options.shape = {12, 4};
  options.down_type = DType::kF32;
  options.window = 64;
  options.threads = 2;
  Random random(7);
  for (int i = 0; i < 2048; ++i) options.calibration.push_back(static_cast<std::int32_t>(random.next() % 384));
  return options;
}

std::vector<float> logits_with(const std::string& path, const std::vector<std::int32_t>& ids, int top_k) {
  ThreadPool pool(2);
  Decoder decoder(load_model(path), pool, {DType::kF32, ActivationType::kF32});
  Sequence sequence;
  if (top_k > 0) sequence.policy.all.top_k = top_k;
  const std::span<const float> logits = decoder.feed(sequence, ids);
  return {logits.begin(), logits.end()};
}

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string refusal(const CarveOptions& options) {
  try {
    carve(options);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

class Carve : public testing::TestWithParam<const char*> {};

TEST_P(Carve, WithAllExpertsChosenItIsTheOldModel) {
  const TestDirectory folder;
  const std::string out = folder.path("moe.gguf");
  carve(carving(GetParam(), out));
  const Oracle expected = oracle(GetParam());
  EXPECT_LT(max_difference(logits_of(kOracles + GetParam(), expected.ids), logits_of(out, expected.ids)), 1e-4f);
}

INSTANTIATE_TEST_SUITE_P(DenseArchitectures, Carve, testing::Values("llama", "qwen2", "qwen3", "gemma3"));

// Three neurons fill no block of any format; a neuron's outputs do.
TEST(Carve, AGroupMayHaveAnyNumberOfNeurons) {
  const TestDirectory folder;
  const Oracle expected = oracle("llama");
  const std::vector<float> dense = logits_with(kOracles + "llama", expected.ids, 0);
  const float largest = max_difference(dense, std::vector<float>(dense.size()));
  for (const DType down : {DType::kF32, DType::kQ8_0}) {
    CarveOptions options = carving("llama", folder.path("moe.gguf"));
    options.shape = {32, 8};
    options.down_type = down;
    EXPECT_EQ(carve(options).neurons, 3);
    const ModelSource source = describe_model(open_checkpoint(options.out));
    const Tensor& stored = source.tensors.find("blk.1.ffn_down_t_exps.weight")->second;
    EXPECT_EQ(stored.type, down);
    EXPECT_EQ(stored.shape, (Shape{24, 3, source.config.hidden_size}));
    const float rounding = down == DType::kF32 ? 1e-5f : 1e-2f;
    EXPECT_LT(max_difference(dense, logits_with(options.out, expected.ids, 0)), rounding * largest);
  }
}

TEST(Carve, TheFileSaysHowItRoutes) {
  const TestDirectory folder;
  const std::string out = folder.path("moe.gguf");
  const CarveReport report = carve(carving("llama", out));
  EXPECT_EQ(report.blocks, 3);
  EXPECT_EQ(report.neurons, 8);
  const ModelConfig config = describe_model(open_checkpoint(out)).config;
  for (const BlockSpec& block : config.blocks) {
    EXPECT_FALSE(block.dense);
    EXPECT_TRUE(block.moe.shared_expert);
    EXPECT_EQ(block.moe.router, report.router);
    EXPECT_EQ(block.moe.router.experts, 8);
  }
}

TEST(Carve, FewerExpertsComeNearerToTheModelTheMoreThereAre) {
  const TestDirectory folder;
  const std::string out = folder.path("moe.gguf");
  carve(carving("llama", out));
  const Oracle expected = oracle("llama");
  const std::vector<float> all = logits_with(out, expected.ids, 0);
  const float seven = max_difference(all, logits_with(out, expected.ids, 7));
  const float one = max_difference(all, logits_with(out, expected.ids, 1));
  EXPECT_GT(seven, 0.0f);
  EXPECT_LT(seven, one);
}

TEST(Carve, TheSameFileWhateverTheThreads) {
  const TestDirectory folder;
  CarveOptions options = carving("qwen2", folder.path("a.gguf"));
  carve(options);
  options.out = folder.path("b.gguf");
  options.threads = 1;
  carve(options);
  EXPECT_EQ(contents(folder.path("a.gguf")), contents(folder.path("b.gguf")));
}

TEST(Carve, EachNeuronStandsInOneGroupAndTheRouterBeatsChance) {
  // Eight kinds of input; each switches on its own eight neurons.
  constexpr std::int64_t kTokens = 1024, kKinds = 8, kWidth = 96, kHidden = 16;
  BlockSample sample{.block = 0, .tokens = kTokens, .hidden_size = kHidden, .width = kWidth};
  Random random(3);
  std::vector<int> kind_of(kWidth, -1);
  for (int n = 0; n < 64; ++n) kind_of[(n * 37) % kWidth] = n % kKinds;
  for (std::int64_t t = 0; t < kTokens; ++t) {
    const int kind = static_cast<int>(random.next() % kKinds);
    for (int d = 0; d < 16; ++d) sample.inputs.push_back(float_to_bf16((d == kind) + 0.1f * random.uniform()));
    for (int n = 0; n < kWidth; ++n) {
      const float value = kind_of[n] < 0 ? 2.0f : kind_of[n] == kind ? 1.0f : 0.01f;
      sample.hidden.push_back(float_to_bf16(value));
    }
    sample.stream_squares.push_back(1.0f);
  }
  ThreadPool pool(2);
  Matrix<float> down(kHidden, kWidth);
  std::ranges::fill(down.values, 1.0f);
  const BlockCarving carving = carve_block(sample, down.view(), {12, 4}, {.chosen = {1}}, pool);
  std::vector<std::int32_t> all = carving.shared;
  for (const std::int32_t n : carving.shared) EXPECT_EQ(kind_of[n], -1) << "neuron " << n << " is not always on";
  for (const auto& expert : carving.experts) {
    all.insert(all.end(), expert.begin(), expert.end());
    for (const std::int32_t n : expert) EXPECT_EQ(kind_of[n], kind_of[expert.front()]);
  }
  std::ranges::sort(all);
  for (std::int32_t n = 0; n < kWidth; ++n) EXPECT_EQ(all[n], n);
  EXPECT_GT(carving.captured, 0.99);
  EXPECT_GE(carving.captured_ideal, carving.captured);
}

TEST(Carve, WhatFirstTokensNeedIsAlwaysOn) {
  // Neurons 0 to 7 speak on the first token of each window of 64 only, all others a quarter of the time, at random: on
  // no token does the input say who. Without regard to first tokens, others have twice the energy.
  constexpr std::int64_t kTokens = 1024, kWidth = 32, kHidden = 4;
  BlockSample sample{.block = 0, .tokens = kTokens, .window = 64, .hidden_size = kHidden, .width = kWidth};
  Random random(5);
  for (std::int64_t t = 0; t < kTokens; ++t) {
    for (int d = 0; d < kHidden; ++d) sample.inputs.push_back(float_to_bf16(random.uniform()));
    for (int n = 0; n < kWidth; ++n) {
      const bool speaks = n < 8 ? t % 64 == 0 : random.next() % 4 == 0;
      sample.hidden.push_back(float_to_bf16(!speaks ? 0.0f : n < 8 ? 2.8f : 1.0f));
    }
    sample.stream_squares.push_back(1.0f);
  }
  ThreadPool pool(2);
  Matrix<float> down(kHidden, kWidth);
  std::ranges::fill(down.values, 1.0f);
  const BlockCarving carving = carve_block(sample, down.view(), {4, 1}, {.chosen = {1}}, pool);
  EXPECT_EQ(carving.shared, (std::vector<std::int32_t>{0, 1, 2, 3, 4, 5, 6, 7}));
}

TEST(Carve, DownIsF16WhereOutputsFillNoBlocks) {
  EXPECT_EQ(carved_down_type(DType::kQ8_0, 576), DType::kQ8_0);
  EXPECT_EQ(carved_down_type(DType::kQ8_0, 40), DType::kF16);
  EXPECT_EQ(carved_down_type(DType::kQ4_K, 576), DType::kF16);
}

TEST(Carve, RefusesWhatItCannotCarve) {
  const TestDirectory folder;
  const std::string out = folder.path("moe.gguf");
  CarveOptions options = carving("llama", out);
  options.shape = {7, 2};
  EXPECT_NE(refusal(options).find("has 96 neurons, which --experts 7 does not divide (2, 3, 4, 6, 8, 12 do)"),
            std::string::npos)
      << refusal(options);
  options.shape = {12, 12};
  EXPECT_EQ(refusal(options), "--shared: is 12, expected 0..11 with --experts 12");
  options.shape = {12, 4};
  options.calibration.resize(100);
  EXPECT_NE(refusal(options).find("--calibrate: the text has 100 tokens"), std::string::npos) << refusal(options);
  EXPECT_NE(refusal(carving("olmoe", out)).find("block 0 is a mixture of 16 experts already"), std::string::npos)
      << refusal(carving("olmoe", out));
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST(Carve, SharesCountTheSharedGroups) {
  EXPECT_EQ(chosen_at({48, 16}, 0.75), 20);
  EXPECT_EQ(chosen_at({48, 16}, 0.5), 8);
  EXPECT_EQ(chosen_at({48, 16}, 0.25), 0);
}

}  // namespace
}  // namespace junto
