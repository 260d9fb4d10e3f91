#include "compress/tensor_types.h"

#include <gtest/gtest.h>

namespace junto {
namespace {

TypeChoice choose(std::string_view name, std::int64_t cols, const TypeRequest& request, std::size_t dimensions = 2) {
  return choose_type({.name = name, .stack = {}, .dimensions = dimensions, .cols = cols, .stored = DType::kBF16},
                     request);
}

TEST(TensorTypes, GlobsMatchWholeNames) {
  EXPECT_TRUE(glob_matches("*", "blk.3.ffn_down.5.weight"));
  EXPECT_TRUE(glob_matches("blk.*.ffn_*.weight", "blk.3.ffn_down.5.weight"));
  EXPECT_TRUE(glob_matches("blk.?.ffn_down.5.weight", "blk.3.ffn_down.5.weight"));
  EXPECT_FALSE(glob_matches("ffn_down", "blk.3.ffn_down.5.weight"));
  EXPECT_FALSE(glob_matches("blk.?.*", "blk.12.attn_q.weight"));
  EXPECT_FALSE(glob_matches("", "x"));
  EXPECT_TRUE(glob_matches("**a*", "ba"));
  // Stars that each could swallow the rest: linear steps back, no explosion.
  EXPECT_FALSE(glob_matches(std::string(30, '*') + "z", std::string(10000, 'a')));
}

TEST(TensorTypes, MatricesGetTheTypeAndSmallTensorsStayF32) {
  const TypeRequest request{DType::kQ4_K, {}};
  EXPECT_EQ(choose("blk.0.attn_q.weight", 512, request).type, DType::kQ4_K);
  EXPECT_EQ(choose("token_embd.weight", 512, request).type, DType::kQ4_K);
  EXPECT_EQ(choose("blk.0.attn_norm.weight", 512, request, 1).type, DType::kF32);
  EXPECT_EQ(choose("blk.0.attn_q.bias", 512, request, 1).type, DType::kF32);
  EXPECT_EQ(choose("blk.0.ffn_gate_exps.bias", 512, request, 2).type, DType::kF32);
  EXPECT_EQ(choose("blk.0.ffn_gate_inp.weight", 512, request).type, DType::kF32);
}

TEST(TensorTypes, RowsThatDoNotFitFallBackToQ80ThenF16) {
  const TypeRequest request{DType::kQ4_K, {}};
  EXPECT_EQ(choose("blk.0.attn_q.weight", 96, request).type, DType::kQ8_0);
  EXPECT_EQ(choose("blk.0.attn_q.weight", 100, request).type, DType::kF16);
  EXPECT_EQ(choose("blk.0.attn_q.weight", 100, request).asked, DType::kQ4_K);
  EXPECT_EQ(choose("blk.0.attn_q.weight", 96, {DType::kF16, {}}).type, DType::kF16);
}

TEST(TensorTypes, WithoutARequestTypesStay) {
  EXPECT_EQ(choose("blk.0.attn_q.weight", 96, {}).type, DType::kBF16);
  EXPECT_EQ(choose_type({.name = "a.weight", .stack = {}, .cols = 96, .stored = DType::kF8E4M3}, {}).type, DType::kBF16)
      << "GGUF has no FP8";
}

TEST(TensorTypes, TheLastRuleThatMatchesWins) {
  const TypeRequest request{DType::kQ4_0,
                            {parse_keep_rule("blk.*=q8_0"), parse_keep_rule("*.ffn_down_exps.weight=Q6_K"),
                             parse_keep_rule("*ffn_gate_inp*=f16")}};
  EXPECT_EQ(choose("blk.1.attn_q.weight", 512, request).type, DType::kQ8_0);
  EXPECT_EQ(choose("output.weight", 512, request).type, DType::kQ4_0);
  EXPECT_EQ(choose("blk.1.ffn_gate_inp.weight", 512, request).type, DType::kF16);
  EXPECT_EQ(choose("blk.1.attn_norm.weight", 512, request, 1).type, DType::kF32) << "norms have no say";
  const TypeChoice expert =
      choose_type({.name = "blk.1.ffn_down.7.weight", .stack = "blk.1.ffn_down_exps.weight", .cols = 512}, request);
  EXPECT_EQ(expert.type, DType::kQ6_K);
}

}  // namespace
}  // namespace junto
