// JetMoE (arXiv 2404.07413): mixtures of attention heads and of feed-forwards.
#include <cmath>

#include "model/architectures/common.h"
#include "model/architectures/declarations.h"

namespace junto {
namespace {

constexpr TensorRule kTensors[] = {
    {"model.layers.#.self_attention.experts.router.layer.weight", "blk.#.attn_gate_inp.weight"},
    {"model.layers.#.self_attention.experts.input_linear.weight", "blk.#.attn_q_exps.weight"},
    {"model.layers.#.self_attention.experts.output_linear.weight", "blk.#.attn_output_exps.weight"},
    {"model.layers.#.self_attention.experts.bias", "blk.#.attn_moe.bias"},
    {"model.layers.#.self_attention.kv_proj.weight", "blk.#.attn_k.weight,blk.#.attn_v.weight", TensorForm::kSplitRows},
    {"model.layers.#.mlp.router.layer.weight", "blk.#.ffn_gate_inp.weight"},
    {"model.layers.#.mlp.input_linear.weight", "blk.#.ffn_gate.#.weight,blk.#.ffn_up.#.weight",
     TensorForm::kExpertsSplitRows},
    {"model.layers.#.mlp.output_linear.weight", "blk.#.ffn_down_exps.weight"},
    {"model.layers.#.mlp.bias", "blk.#.ffn_moe.bias"},
};

}  // namespace

std::span<const TensorRule> jetmoe_tensors() {
  return kTensors;
}

ModelConfig declare_jetmoe(const ConfigReader& r) {
  ModelConfig m = declare_sizes(r);
  m.norm_eps = 1e-6f;  // of the blocks, whatever rms_norm_eps says of the last norm
  ExpertAttentionSpec mixer;
  mixer.router = declare_logit_router(r);
  AttentionSpec& attention = mixer.attention;
  attention.kv_heads = static_cast<int>(r.integer({"num_key_value_heads", nullptr}, 1, 65536));
  attention.heads = attention.kv_heads * max_experts_per_unit(mixer.router);
  attention.head_dim = static_cast<int>(r.integer({"kv_channels", nullptr}, 1, 65536));
  attention.scale = 1.0f / std::sqrt(static_cast<float>(attention.head_dim));
  attention.rope = 0;
  m.ropes.push_back(read_rope(r, {.head_dim = attention.head_dim}));
  BlockSpec block;
  block.mixer = mixer;
  block.ffn.activation = declare_activation(r, ActivationKind::kSilu, {"activation_function", nullptr});
  make_routed(block, mixer.router);
  block.moe.output_bias = true;
  const std::int64_t layers = layer_count(r);
  for (std::int64_t l = 0; l < layers; ++l) {
    block.layer = static_cast<int>(l);
    m.blocks.push_back(block);
  }
  return m;
}

}  // namespace junto
