// Converted files compute what their sources compute: every oracle checkpoint, whatever its architecture becomes.
#include "compress/convert.h"

#include <gtest/gtest.h>

#include <map>

#include "base/file.h"
#include "compress/test_models.h"
#include "format/checkpoint.h"
#include "format/gguf.h"
#include "format/test_directory.h"
#include "format/tokenizer.h"

namespace junto {
namespace {

ConvertReport convert_oracle(const std::string& name, const std::string& out, const char* type) {
  ConvertOptions options;
  options.source = kOracles + name;
  options.out = out;
  if (*type) options.types.type = parse_weight_type(type, "--type");
  return convert(options);
}

// Oracle -> general.architecture: llama.cpp's name where llama.cpp computes the same.
const std::map<std::string, std::string> kArchitectures = {
    {"afmoe", "junto"},  // embeddings not scaled
    {"dbrx", "dbrx"},
    {"deepseek_v2", "deepseek2"},
    {"deepseek_v3", "deepseek2"},
    {"dots1", "junto"},  // grouped KV heads
    {"ernie4_5_moe", "ernie4_5-moe"},
    {"flex_olmo", "junto"},  // llama.cpp has none
    {"gemma3", "gemma3"},
    {"glm4_moe", "glm4moe"},
    {"gpt_oss", "junto"},  // YaRN without truncation
    {"granitemoe", "granitemoe"},
    {"hunyuan_v1_moe", "hunyuan-moe"},
    {"jetmoe", "junto"},  // llama.cpp has none
    {"lfm2_moe", "lfm2moe"},
    {"llama", "llama"},
    {"llama-rope3-tied", "llama"},
    {"llama4", "junto"},         // chunks of 16
    {"longcat_flash", "junto"},  // llama.cpp has none
    {"minimax_m2", "minimax-m2"},
    {"mistral-swa", "junto"},  // sliding window
    {"mixtral", "llama"},
    {"olmoe", "olmoe"},
    {"phimoe", "junto"},  // SparseMixer
    {"qwen2", "qwen2"},
    {"qwen2_moe", "qwen2moe"},
    {"qwen3", "qwen3"},
    {"qwen3_moe", "junto"},  // a dense layer among routed ones
};

class ConvertOracle : public testing::TestWithParam<std::pair<const std::string, std::string>> {};

TEST_P(ConvertOracle, F32FileHasTheReferencesLogits) {
  const auto& [name, architecture] = GetParam();
  TestDirectory directory;
  const std::string file = directory.path("model.gguf");
  const ConvertReport report = convert_oracle(name, file, "f32");
  EXPECT_EQ(report.architecture, architecture);
  EXPECT_EQ(open_checkpoint(file).metadata.required_string("general.architecture"), architecture);
  const Oracle expected = oracle(name);
  // dbrx is ill-conditioned: its reference differs from itself by this much (model/oracle_test.cc).
  const float bound = name == "dbrx" ? 2.5e-2f : 1e-3f;
  EXPECT_LE(max_difference(logits_of(file, expected.ids), expected.logits), bound);
}

TEST_P(ConvertOracle, TokenizerSurvives) {
  const std::string& name = GetParam().first;
  TestDirectory directory;
  const std::string file = directory.path("model.gguf");
  convert_oracle(name, file, "f32");
  const Checkpoint source = open_checkpoint(kOracles + name);
  const Tokenizer before =
      load_tokenizer_json(read_text_file(source.tokenizer_json_path, 1 << 24), "source", source.tokenizer_config);
  const Checkpoint written = open_checkpoint(file);
  const Tokenizer after = load_tokenizer_gguf(written.metadata);
  for (const char* text :
       {"They'll go to 12345 Main St.\n\n  Ünï <|im_start|>user\nhello<|im_end|>", "日本語 русский"}) {
    EXPECT_EQ(after.encode(text, true), before.encode(text, true));
    EXPECT_EQ(after.decode(after.encode(text, true), false), before.decode(before.encode(text, true), false));
  }
  EXPECT_EQ(after.eos_id(), before.eos_id());
  EXPECT_EQ(written.metadata.required_string("tokenizer.chat_template"),
            source.tokenizer_config["chat_template"].get<std::string>());
}

INSTANTIATE_TEST_SUITE_P(Oracles, ConvertOracle, testing::ValuesIn(kArchitectures), [](const auto& test) {
  std::string name = test.param.first;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST(Convert, WithoutTypeKeepsTheStoredOne) {
  TestDirectory directory;
  const std::string file = directory.path("model.gguf");
  convert_oracle("olmoe", file, "");
  const Checkpoint written = open_checkpoint(file);
  EXPECT_EQ(written.find("blk.0.ffn_down_exps.weight")->type, DType::kBF16);
  EXPECT_EQ(written.find("blk.0.ffn_norm.weight")->type, DType::kF32);
  EXPECT_EQ(written.find("blk.0.ffn_gate_inp.weight")->type, DType::kF32);
  EXPECT_EQ(written.metadata.integer("general.file_type"), 32);
  const Oracle expected = oracle("olmoe");
  EXPECT_LE(max_difference(logits_of(file, expected.ids), expected.logits), 1e-3f);
}

// The oracles' rows are 32 to 128 values: Q8_0 and Q4_0 fit, K-quants do not and fall back.
TEST(Convert, QuantisedFilesStayNearAndSayWhatDidNotFit) {
  struct Case {
    const char* type;
    double divergence;  // nats, of random weights: the bound is on mistakes, not on quality
    bool fits;
  };
  for (const Case& one : {Case{"f16", 1e-5, true}, Case{"bf16", 1e-3, true}, Case{"q8_0", 2e-3, true},
                          Case{"q5_1", 0.3, true}, Case{"q4_0", 1.0, true}, Case{"q4_k", 2e-3, false}}) {
    TestDirectory directory;
    const std::string file = directory.path("model.gguf");
    const ConvertReport report = convert_oracle("mixtral", file, one.type);
    EXPECT_EQ(report.notes.empty(), one.fits) << one.type;
    if (!one.fits) {
      ASSERT_FALSE(report.notes.empty());
      EXPECT_NE(report.notes[0].find("as q8_0, as rows of"), std::string::npos) << report.notes[0];
    }
    const Oracle expected = oracle("mixtral");
    EXPECT_LE(mean_divergence(expected.logits, logits_of(file, expected.ids), 384), one.divergence) << one.type;
  }
}

TEST(Convert, KeepRulesGiveOneExpertAnotherType) {
  TestDirectory directory;
  const std::string whole = directory.path("whole.gguf"), mixed = directory.path("mixed.gguf");
  convert_oracle("mixtral", whole, "f16");
  ConvertOptions options;
  options.source = whole;
  options.out = mixed;
  options.types.type = DType::kQ4_0;
  options.types.keep = {parse_keep_rule("*.attn_*=q8_0"), parse_keep_rule("blk.1.ffn_down.3.weight=f16"),
                        parse_keep_rule("output.weight=q5_0"), parse_keep_rule("blk.2.ffn_up_exps.weight=q5_1")};
  const ConvertReport report = convert(options);
  EXPECT_EQ(report.architecture, "junto") << "llama.cpp has no unequal experts";
  const Checkpoint written = open_checkpoint(mixed);
  EXPECT_EQ(written.metadata.required_string("junto.base_architecture"), "llama");
  EXPECT_EQ(written.find("blk.0.attn_q.weight")->type, DType::kQ8_0);
  EXPECT_EQ(written.find("blk.0.ffn_down_exps.weight")->type, DType::kQ4_0);
  EXPECT_EQ(written.find("blk.1.ffn_down_exps.weight"), nullptr);
  EXPECT_EQ(written.find("blk.1.ffn_down.3.weight")->type, DType::kF16);
  EXPECT_EQ(written.find("blk.1.ffn_down.4.weight")->type, DType::kQ4_0);
  EXPECT_EQ(written.find("blk.2.ffn_up_exps.weight")->type, DType::kQ5_1);
  EXPECT_EQ(written.find("output.weight")->type, DType::kQ5_0);
  const Oracle expected = oracle("mixtral");
  EXPECT_LE(mean_divergence(expected.logits, logits_of(mixed, expected.ids), 384), 1.0);
}

TEST(Convert, QuantisedAgainIsTheSameFile) {
  TestDirectory directory;
  const std::string first = directory.path("first.gguf"), second = directory.path("second.gguf");
  convert_oracle("deepseek_v3", first, "q8_0");
  ConvertOptions options;
  options.source = first;
  options.out = second;
  options.types.type = DType::kQ8_0;
  convert(options);
  EXPECT_EQ(read_text_file(first, 1 << 26), read_text_file(second, 1 << 26));
}

TEST(Convert, RefusesWhatCannotBe) {
  TestDirectory directory;
  const std::string file = directory.path("model.gguf");
  convert_oracle("llama", file, "f32");
  ConvertOptions options;
  options.source = file;
  options.out = file;
  EXPECT_NE(error_of([&] { convert(options); }).find("is the source itself"), std::string::npos);
  options.out = directory.path("model.safetensors");
  EXPECT_NE(error_of([&] { convert(options); }).find("expected .gguf"), std::string::npos);
  EXPECT_NE(error_of([] { parse_weight_type("q4_9", "--type"); }).find("expected one of f32"), std::string::npos);
  EXPECT_NE(error_of([] { parse_keep_rule("=q4_0"); }).find("PATTERN=TYPE"), std::string::npos);
}

TEST(Convert, ProgressReachesTheEnd) {
  TestDirectory directory;
  ConvertOptions options;
  options.source = kOracles + "llama";
  options.out = directory.path("model.gguf");
  std::uint64_t last = 0, total = 1;
  options.progress = [&](std::uint64_t done, std::uint64_t all) {
    EXPECT_GE(done, last);
    last = done, total = all;
  };
  const ConvertReport report = convert(options);
  EXPECT_EQ(last, total);
  EXPECT_EQ(total, report.bytes);
}

}  // namespace
}  // namespace junto
