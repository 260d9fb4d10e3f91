// A model whose experts are unequal in everything: 3, 5 and 8 of them in its layers, 32 to 160 wide, three types in one
// layer, one that computes nothing. It must convert, load, run, and give a row the same bits whatever is beside it.
#include <gtest/gtest.h>

#include "compress/convert.h"
#include "compress/encode_rows.h"
#include "compress/gguf_identity.h"
#include "compress/random_rows.h"
#include "compress/test_models.h"
#include "format/gguf.h"
#include "format/test_directory.h"
#include "model/stored_routing.h"

namespace junto {
namespace {

struct ExpertShape {
  std::int64_t width;  // 0: the zero expert
  DType type;
};

using enum DType;
const std::vector<std::vector<ExpertShape>> kLayers = {
    {{32, kF32}, {64, kF32}, {96, kF32}},
    {{160, kQ8_0}, {32, kQ4_0}, {0, kF32}, {64, kF16}, {128, kQ8_0}},
    {{32, kQ4_0}, {32, kQ4_0}, {64, kQ5_1}, {96, kQ8_0}, {128, kQ8_0}, {160, kF16}, {64, kBF16}, {32, kQ6_K}},
};
constexpr std::int64_t kHidden = 64;

DType fitting(DType type, std::int64_t cols) {
  return cols % block_values(type) == 0 ? type : kQ8_0;
}

// The mixtral oracle with these experts and routers for them. `zero_weights` puts a network of zeros in the place of
// the zero expert.
std::string write_model(const std::string& file, bool zero_weights) {
  const std::string plain = file + ".plain.gguf";
  ConvertOptions options;
  options.source = kOracles + "mixtral";
  options.out = plain;
  convert(options);

  const Checkpoint checkpoint = open_checkpoint(plain);
  ModelSource source = describe_model(checkpoint);
  const ModelConfig before = source.config;
  ThreadPool pool(2);
  std::vector<TensorToWrite> tensors;
  for (const auto& [name, tensor] : source.tensors) {
    if (name.find("_exps.") == std::string::npos && name.find("ffn_gate_inp") == std::string::npos) {
      tensors.push_back(to_write(name, tensor));
    }
  }
  for (std::size_t l = 0; l < kLayers.size(); ++l) {
    const std::string block = "blk." + std::to_string(l) + ".";
    const auto experts = static_cast<std::int64_t>(kLayers[l].size());
    RouterSpec router = source.config.blocks[l].moe.router;
    router.experts = static_cast<int>(experts);
    make_routed(source.config.blocks[l], router);
    tensors.push_back(random_rows(block + "ffn_gate_inp.weight", {experts, kHidden}, kF32, 0, 0.3f, 1, pool));
    for (std::int64_t e = 0; e < experts; ++e) {
      const auto [width, type] = kLayers[l][e];
      if (width == 0 && !zero_weights) source.config.blocks[l].moe.kinds[e] = ExpertKind::kZero;
      if (width == 0 && !zero_weights) continue;
      const std::int64_t rows = width == 0 ? 32 : width;
      const float spread = width == 0 ? 0.0f : 0.12f;
      const std::string tail = "." + std::to_string(e) + ".weight";
      const DType in = fitting(type, kHidden), out = fitting(type, rows);
      tensors.push_back(random_rows(block + "ffn_gate" + tail, {rows, kHidden}, in, 0, spread, 1, pool));
      tensors.push_back(random_rows(block + "ffn_up" + tail, {rows, kHidden}, in, 0, spread, 1, pool));
      tensors.push_back(random_rows(block + "ffn_down" + tail, {kHidden, rows}, out, 0, spread, 1, pool));
    }
  }
  GgufIdentity identity = identify_for_gguf(checkpoint, source);
  make_junto_only(identity, "unequal experts");
  const std::optional<Json> routing = stored_routing(source.config, before);
  identity.metadata.set("junto.router", routing.value().dump());
  write_gguf(file, identity.metadata, tensors);
  return file;
}

class UnequalExperts : public testing::Test {
 protected:
  TestDirectory directory_;
  const std::string file_ = write_model(directory_.path("unequal.gguf"), false);
  const std::vector<std::int32_t> ids_ = oracle("mixtral").ids;
};

TEST_F(UnequalExperts, LoadWithTheirOwnNumberWidthTypeAndKind) {
  const std::shared_ptr<const Model> model = load_model(file_);
  const auto table = model->experts->snapshot();
  for (std::size_t l = 0; l < kLayers.size(); ++l) {
    ASSERT_EQ(table->layers[l].experts.size(), kLayers[l].size());
    for (std::size_t e = 0; e < kLayers[l].size(); ++e) {
      const ExpertWeights& expert = *table->layers[l].experts[e];
      EXPECT_EQ(expert.width(), kLayers[l][e].width);
      EXPECT_EQ(expert.kind, kLayers[l][e].width == 0 ? ExpertKind::kZero : ExpertKind::kFfn);
      if (expert.width() == 0) continue;
      EXPECT_EQ(expert.up.weights.type, fitting(kLayers[l][e].type, kHidden));
    }
  }
}

TEST_F(UnequalExperts, ARowHasTheSameBitsHoweverThePromptIsCut) {
  const auto model = load_model(file_);
  const std::vector<float> whole = logits_of(model, ids_, 0, 1);
  EXPECT_LT(max_difference(whole, whole), 1.0f) << "finite";
  for (const int chunk : {0, 1, 7, 32}) {
    for (const int threads : {1, 3}) {
      const std::vector<float> cut = logits_of(model, ids_, chunk, threads);
      ASSERT_EQ(whole.size(), cut.size());
      EXPECT_EQ(std::memcmp(whole.data(), cut.data(), whole.size() * sizeof(float)), 0)
          << "chunk " << chunk << ", threads " << threads;
    }
  }
}

TEST_F(UnequalExperts, TheZeroExpertIsANetworkOfZeros) {
  const std::string zeros = write_model(directory_.path("zeros.gguf"), true);
  EXPECT_LE(max_difference(logits_of(file_, ids_), logits_of(zeros, ids_)), 1e-5f);
}

TEST_F(UnequalExperts, ConvertedToFloatsTheyComputeTheSame) {
  ConvertOptions options;
  options.source = file_;
  options.out = directory_.path("f32.gguf");
  options.types.type = kF32;
  const ConvertReport report = convert(options);
  EXPECT_EQ(report.architecture, "junto");
  const Checkpoint written = open_checkpoint(options.out);
  EXPECT_EQ(written.find("blk.1.ffn_down.0.weight")->shape, (Shape{kHidden, 160}));
  EXPECT_EQ(written.find("blk.1.ffn_down.2.weight"), nullptr);
  EXPECT_LE(max_difference(logits_of(file_, ids_), logits_of(options.out, ids_)), 1e-3f);
}

TEST_F(UnequalExperts, QuantisedTheyStillRun) {
  ConvertOptions options;
  options.source = file_;
  options.out = directory_.path("q4_0.gguf");
  options.types.type = kQ4_0;
  convert(options);
  EXPECT_EQ(open_checkpoint(options.out).find("blk.2.ffn_gate.5.weight")->type, kQ4_0);
  EXPECT_LE(mean_divergence(logits_of(file_, ids_), logits_of(options.out, ids_), 384), 1.0);
}

}  // namespace
}  // namespace junto
