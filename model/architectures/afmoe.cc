// AFMoE (Arcee Trinity, 2025): gated attention, rotation in the sliding layers only, norms before and after.
#include <cmath>

#include "model/architectures/common.h"
#include "model/architectures/declarations.h"

namespace junto {
namespace {

constexpr TensorRule kTensors[] = {
    {"model.layers.#.post_attention_layernorm.weight", "blk.#.post_attention_norm.weight"},
    {"model.layers.#.pre_mlp_layernorm.weight", "blk.#.ffn_norm.weight"},
    {"model.layers.#.post_mlp_layernorm.weight", "blk.#.post_ffw_norm.weight"},
    {"model.layers.#.self_attn.gate_proj.weight", "blk.#.attn_gate.weight"},
    {"model.layers.#.mlp.router.gate.weight", "blk.#.ffn_gate_inp.weight"},
    {"model.layers.#.mlp.expert_bias", "blk.#.exp_probs_b.bias"},
};

bool all_but_every_nth(const ConfigReader& r, std::size_t layer) {
  const std::int64_t n = r.integer_or({"global_attn_every_n_layers", nullptr}, 4, 1, kMaxLayers);
  return (static_cast<std::int64_t>(layer) + 1) % n != 0;
}

}  // namespace

std::span<const TensorRule> afmoe_tensors() {
  return kTensors;
}

ModelConfig declare_afmoe(const ConfigReader& r) {
  ModelConfig m = declare_decoder(r, {}, 128);
  if (r.gguf() || r.boolean_or({"mup_enabled", nullptr}, false)) {
    m.embedding_multiplier = std::sqrt(static_cast<float>(m.hidden_size));
  }
  const auto scale = static_cast<float>(r.number_or({"route_scale", "expert_weights_scale"}, 1.0));
  const RouterSpec router = declare_sigmoid_router(r, true, scale);
  const bool shared = r.integer_or({"num_shared_experts", "expert_shared_count"}, 2, 0, kMaxExperts) > 0;
  const std::int64_t dense = r.integer_or({"num_dense_layers", "leading_dense_block_count"}, 1, 0, kMaxLayers);
  const auto window =
      static_cast<int>(r.integer_or({"sliding_window", "attention.sliding_window"}, 1024, 0, INT32_MAX));
  const std::vector<bool> sliding = sliding_layers(r, m.blocks.size(), all_but_every_nth);
  for (std::size_t l = 0; l < m.blocks.size(); ++l) {
    BlockSpec& block = m.blocks[l];
    AttentionSpec& attention = attention_of(block);
    attention.qk_norm = QkNorm::kPerHead;
    attention.output_gate = true;
    if (sliding[l])
      attention.window = window;
    else
      attention.rope = -1;
    block.mixer_norm.post = block.ffn_norm.post = true;
    if (static_cast<std::int64_t>(l) < dense) continue;
    make_routed(block, router);
    block.moe.shared_expert = shared;
  }
  return m;
}

}  // namespace junto
