// What published configs mean where they are silent: facts about the implementations that checkpoints come from.
#include "model/architectures.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "base/file.h"

namespace junto {
namespace {

Json config_of(const std::string& oracle) {
  const std::string path = JUNTO_SOURCE_DIR "/testdata/oracles/checkpoints/" + oracle + "/config.json";
  return parse_json(read_text_file(path, 1 << 20), path);
}

ModelConfig declared(const Json& config) {
  Checkpoint checkpoint;
  checkpoint.kind = Checkpoint::Kind::kHuggingFace;
  checkpoint.path = "model";
  checkpoint.config = config;
  return describe_model(checkpoint).config;
}

const AttentionSpec& attention_of(const ModelConfig& config, std::size_t block = 0) {
  return std::get<AttentionSpec>(config.blocks.at(block).mixer);
}

TEST(Architectures, AnAbsentHeadSizeIsThatOfThePublishedClass) {
  const std::pair<const char*, int> sizes[] = {{"afmoe", 128},  {"gemma3", 256},     {"gpt_oss", 64},
                                               {"llama4", 128}, {"minimax_m2", 128}, {"qwen3", 128},
                                               {"llama", 16},   {"qwen3_moe", 16}};
  for (const auto& [name, size] : sizes) {
    Json config = config_of(name);
    config.erase("head_dim");
    EXPECT_EQ(attention_of(declared(config)).head_dim, size) << name;
  }
  Json config = config_of("llama4");
  config["head_dim"] = nullptr;
  EXPECT_EQ(attention_of(declared(config)).head_dim, 16);
}

TEST(Architectures, SomeNormsDoNotFollowRmsNormEps) {
  for (const char* name : {"deepseek_v2", "deepseek_v3", "longcat_flash"}) {
    Json config = config_of(name);
    config["rms_norm_eps"] = 1e-2;
    const ModelConfig model = declared(config);
    EXPECT_EQ(std::get<MlaSpec>(model.blocks[0].mixer).norm_eps, 1e-6f) << name;
    EXPECT_EQ(model.norm_eps, 1e-2f) << name;
  }
  Json config = config_of("jetmoe");
  config["rms_norm_eps"] = 1e-2;
  EXPECT_EQ(declared(config).norm_eps, 1e-6f);
  EXPECT_EQ(declared(config).output_norm_eps, 1e-2f);
}

TEST(Architectures, GptOssWithoutRopeScalingIsYarnOfFactor32) {
  Json config = config_of("gpt_oss");
  config["rope_scaling"] = nullptr;
  const Rope rope = declared(config).ropes[0];
  EXPECT_NEAR(rope.magnitude, 0.1 * std::log(32.0) + 1, 1e-6);
  EXPECT_NEAR(rope.inverse_frequency.back(), std::pow(config["rope_theta"].get<double>(), -14.0 / 16) / 32, 1e-9);
}

TEST(Architectures, MinistralSlidesByLayerType) {
  Json config = config_of("mistral-swa");
  config["layer_types"] = {"sliding_attention", "full_attention", "sliding_attention"};
  const ModelConfig model = declared(config);
  EXPECT_EQ(attention_of(model, 0).window, 16);
  EXPECT_EQ(attention_of(model, 1).window, 0);
}

TEST(Architectures, PhiMoeTakesTwoExpertsWhateverItSays) {
  Json config = config_of("phimoe");
  config["num_experts_per_tok"] = 1;
  EXPECT_EQ(max_experts_per_unit(declared(config).blocks[0].moe.router), 2);
}

}  // namespace
}  // namespace junto
