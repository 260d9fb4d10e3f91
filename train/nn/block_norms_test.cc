// Norms on residual sums, with the residual rules of MomentumSMoE's released code, held to their recursions written
// out.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "train/loop/test_logits.h"
#include "train/nn/language_model.h"

namespace junto {
namespace {

/// Two routed layers without attention (its output matrix is 0), so that a block is its feed-forward half.
LanguageModelShape shape_of(BlockNorms norms) {
  LanguageModelShape shape = small_shape();
  shape.layers = 2;
  shape.norms = norms;
  return shape;
}

struct Parts {
  explicit Parts(const LanguageModelShape& shape) : model(shape, 5) {
    spread_weights(model);
    at::NoGradGuard guard;
    for (LanguageModel::Block& block : model.blocks()) {
      block.output.zero_();
      for (const at::Tensor& weight : {block.attn_sum_norm, block.ffn_sum_norm, block.ffn_second_norm}) {
        if (weight.defined()) weight.uniform_(0.5, 1.5);
      }
    }
  }

  at::Tensor embedded() const { return at::embedding(model.embedding(), ids); }
  at::Tensor norm(const at::Tensor& x, const at::Tensor& weight) const {
    return x / (x.square().mean(1, true) + 1e-5).sqrt() * weight;
  }
  at::Tensor experts(int layer, const at::Tensor& x) {
    return moe_layer(model.shape(), routers, model.blocks()[static_cast<std::size_t>(layer)], x, pass);
  }
  at::Tensor logits(const at::Tensor& x) const { return at::mm(norm(x, model.output_norm()), model.head().t()); }
  void expect_logits(const at::Tensor& x) const {
    const at::Tensor found = model.forward(ids.reshape({2, 6})).logits;
    EXPECT_LE((logits(x) - found).abs().max().item<float>(), 2e-5f * found.abs().max().item<float>());
  }

  LanguageModel model;
  MoeRouters routers = compile_routers(model.shape());
  MoePass pass;
  at::Tensor ids = (at::arange(12, at::kLong) * 17).remainder(257);
};

TEST(BlockNorms, PostIsTheNormOfTheSum) {
  const at::NoGradGuard guard;
  Parts parts(shape_of(BlockNorms::kPost));
  at::Tensor h = parts.embedded();
  for (int layer = 0; layer < 2; ++layer) {
    const LanguageModel::Block& block = parts.model.blocks()[static_cast<std::size_t>(layer)];
    EXPECT_FALSE(block.attn_norm.defined() || block.ffn_norm.defined() || block.ffn_second_norm.defined());
    h = parts.norm(h, block.attn_sum_norm);
    h = parts.norm(h + parts.experts(layer, h), block.ffn_sum_norm);
  }
  parts.expect_logits(h);
}

// m = mu m + f; r = LN_a(h - m); h = LN_2(h + r).
TEST(BlockNorms, PostTwiceIsTheReleasedBlockOfMomentum) {
  const at::NoGradGuard guard;
  LanguageModelShape shape = shape_of(BlockNorms::kPostTwice);
  shape.residual = HeavyBall{.mu = 0.7f, .gamma = -1.0f};
  Parts parts(shape);
  at::Tensor h = parts.embedded(), m = at::zeros_like(h);
  for (int layer = 0; layer < 2; ++layer) {
    const LanguageModel::Block& block = parts.model.blocks()[static_cast<std::size_t>(layer)];
    h = parts.norm(h, block.attn_sum_norm);
    m = 0.7 * m + parts.experts(layer, h);
    h = parts.norm(h + parts.norm(h - m, block.ffn_sum_norm), block.ffn_second_norm);
  }
  parts.expect_logits(h);
}

// The first layer: a = p / sqrt(v + 1e-8) + h; r = LN_a(h - a), which has lost h; the outer sum brings it back.
TEST(BlockNorms, PostTwiceIsTheReleasedBlockOfAdamInTheFirstLayer) {
  const at::NoGradGuard guard;
  LanguageModelShape shape = shape_of(BlockNorms::kPostTwice);
  shape.residual = HeavyBall{.mu = 0.7f, .gamma = -1.0f};
  shape.first_residual = AdamLike{.gamma = -1.0f, .decay = 1.0f, .mu = 0.7f, .momentum_gamma = -1.0f};
  Parts parts(shape);
  const LanguageModel::Block &first = parts.model.blocks()[0], &second = parts.model.blocks()[1];
  at::Tensor h = parts.norm(parts.embedded(), first.attn_sum_norm);
  const at::Tensor f = parts.experts(0, h), p = 0.1 * f, v = 0.001 * f.square();
  at::Tensor m = f;
  const at::Tensor a = p / (v + 1e-8).sqrt() + h;
  h = parts.norm(h + parts.norm(h - a, first.ffn_sum_norm), first.ffn_second_norm);
  h = parts.norm(h, second.attn_sum_norm);
  m = 0.7 * m + parts.experts(1, h);
  h = parts.norm(h + parts.norm(h - m, second.ffn_sum_norm), second.ffn_second_norm);
  parts.expect_logits(h);
}

}  // namespace
}  // namespace junto
