#include "compress/synth.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "compress/presets.h"
#include "compress/synth_tokenizer.h"
#include "compress/test_models.h"
#include "format/checkpoint.h"
#include "format/test_directory.h"

namespace junto {
namespace {

SynthOptions tiny(const std::string& out, DType type, std::uint64_t seed, int threads) {
  SynthOptions options;
  options.out = out;
  options.type = type;
  options.seed = seed;
  options.threads = threads;
  return options;
}

TEST(Synth, PresetsHaveTheirModelsNumberOfWeights) {
  const std::vector<std::pair<const char*, double>> billions = {
      {"olmoe-1b-7b", 6.919}, {"mixtral-8x7b", 46.703}, {"qwen3-30b-a3b", 30.532}, {"deepseek-v2-lite", 15.706}};
  for (const auto& [name, count] : billions) {
    SynthOptions options;
    options.preset = name;
    const SynthReport report = plan_synthesis(options);
    EXPECT_NEAR(static_cast<double>(report.weights) * 1e-9, count, 0.001) << name;
  }
}

TEST(Synth, TinyRunsWithActivationsNearOneInEveryType) {
  TestDirectory directory;
  for (const DType type : {DType::kF16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_K, DType::kQ2_K}) {
    const std::string file = directory.path("tiny.gguf");
    EXPECT_TRUE(synthesize(tiny(file, type, 0, 2)).notes.empty());
    EXPECT_EQ(open_checkpoint(file).find("blk.0.ffn_down_exps.weight")->type, type);
    std::vector<std::int32_t> ids(40);
    for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int32_t>(i * 25);
    const std::vector<float> logits = logits_of(file, ids);
    double squares = 0;
    for (const float logit : logits) squares += static_cast<double>(logit) * logit;
    const double spread = std::sqrt(squares / static_cast<double>(logits.size()));
    EXPECT_GT(spread, 1.0) << dtype_name(type);
    EXPECT_LT(spread, 10.0) << dtype_name(type);
  }
}

TEST(Synth, RoutersThatReadTheLayerBelowAreForJuntoAlone) {
  TestDirectory directory;
  SynthOptions options = tiny(directory.path("ahead.gguf"), DType::kQ8_0, 0, 2);
  options.shape = {.layers = 3, .experts = 6, .width = 64, .top_k = 1};
  options.router_back = 1;
  synthesize(options);
  const Checkpoint checkpoint = open_checkpoint(options.out);
  EXPECT_EQ(checkpoint.metadata.required_string("general.architecture"), "junto");
  EXPECT_EQ(checkpoint.find("blk.2.ffn_up_exps.weight")->shape, (Shape{6, 64, 256}));
  const ModelConfig config = describe_model(checkpoint).config;
  ASSERT_EQ(config.blocks.size(), 3u);
  for (const BlockSpec& block : config.blocks) {
    EXPECT_EQ(block.moe.router_back, 1);
    EXPECT_EQ(max_experts_per_unit(block.moe.router), 1);
  }
  EXPECT_EQ(logits_of(options.out, {3, 1, 2}).size(), 3u * 1024);
}

TEST(Synth, OneSeedIsOneFileHoweverManyThreads) {
  TestDirectory directory;
  const auto written = [&](std::uint64_t seed, int threads) {
    const std::string file = directory.path("tiny.gguf");
    synthesize(tiny(file, DType::kQ4_0, seed, threads));
    return read_text_file(file, 1 << 26);
  };
  const std::string once = written(7, 1);
  EXPECT_TRUE(once == written(7, 3));
  EXPECT_FALSE(once == written(8, 1));
}

TEST(Synth, TokenizerReadsAndWritesAnyText) {
  for (const std::int64_t size : {260, 1024, 32000}) {
    const GgufTokenizerData data = synthetic_tokenizer(size);
    EXPECT_EQ(static_cast<std::int64_t>(data.tokens.size()), size);
    const Tokenizer tokenizer = load_tokenizer_gguf(data, "synthetic");
    for (const char* text : {"The other people would make water.\n\n\tx = 3.14;", "Ünïcödé 日本語 🙂", ""}) {
      EXPECT_EQ(tokenizer.decode(tokenizer.encode(text, false), false), text);
    }
    EXPECT_EQ(tokenizer.encode("<|im_end|>", false), std::vector<std::int32_t>{static_cast<std::int32_t>(size - 1)});
    EXPECT_TRUE(tokenizer.is_end_of_generation(static_cast<std::int32_t>(size - 1)));
  }
  EXPECT_NE(error_of([] { synthetic_tokenizer(100); }).find("at least 260"), std::string::npos);
}

TEST(Synth, LayersAndExpertsCanBeFewer) {
  SynthOptions options;
  options.preset = "qwen3-30b-a3b";
  options.shape.layers = 2;
  options.shape.experts = 16;
  const SynthReport report = plan_synthesis(options);
  // Embeddings, and two layers with 16 experts of three matrices of 768 x 2048.
  EXPECT_NEAR(static_cast<double>(report.weights), 2.0 * 151936 * 2048 + 2 * (16 * 3 * 768 * 2048 + 18.9e6), 1e6);
}

TEST(Synth, RefusesByNameWhatDoesNotFit) {
  EXPECT_NE(error_of([] { preset_config("olmo-1b-7b", {}); }).find("did you mean olmoe-1b-7b?"), std::string::npos);
  EXPECT_NE(error_of([] { preset_config("olmoe-1b-7b", {.experts = 4}); }).find("--experts: is 4, expected 8"),
            std::string::npos);
  EXPECT_NE(error_of([] { preset_config("olmoe-1b-7b", {.width = 33}); }).find("--width: is 33"), std::string::npos);
  EXPECT_NE(error_of([] { preset_config("tiny", {.top_k = 9}); }).find("--experts: is 8, expected 9"),
            std::string::npos);
  EXPECT_NE(error_of([] { preset_config("olmoe-1b-7b", {.layers = -1}); }).find("--layers: is -1"), std::string::npos);
}

}  // namespace
}  // namespace junto
