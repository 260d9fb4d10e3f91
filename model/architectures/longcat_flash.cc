// LongCat-Flash (arXiv 2509.01322): a layer is two blocks of latent attention and dense feed-forward; its experts read
// the first block and join after the second; some experts are identities.
#include <cmath>

#include "model/architectures/common.h"
#include "model/architectures/declarations.h"

namespace junto {
namespace {

constexpr TensorRule kTensors[] = {
    {"model.layers.#.input_layernorm.#.weight", "blk.#.attn_norm.weight", TensorForm::kPlain, true},
    {"model.layers.#.post_attention_layernorm.#.weight", "blk.#.ffn_norm.weight", TensorForm::kPlain, true},
    {"model.layers.#.self_attn.#.q_proj.weight", "blk.#.attn_q.weight", TensorForm::kPlain, true},
    {"model.layers.#.self_attn.#.q_a_proj.weight", "blk.#.attn_q_a.weight", TensorForm::kPlain, true},
    {"model.layers.#.self_attn.#.q_a_layernorm.weight", "blk.#.attn_q_a_norm.weight", TensorForm::kPlain, true},
    {"model.layers.#.self_attn.#.q_b_proj.weight", "blk.#.attn_q_b.weight", TensorForm::kPlain, true},
    {"model.layers.#.self_attn.#.kv_a_proj_with_mqa.weight", "blk.#.attn_kv_a_mqa.weight", TensorForm::kPlain, true},
    {"model.layers.#.self_attn.#.q_a_proj.bias", "blk.#.attn_q_a.bias", TensorForm::kPlain, true},
    {"model.layers.#.self_attn.#.kv_a_proj_with_mqa.bias", "blk.#.attn_kv_a_mqa.bias", TensorForm::kPlain, true},
    {"model.layers.#.self_attn.#.o_proj.bias", "blk.#.attn_output.bias", TensorForm::kPlain, true},
    {"model.layers.#.self_attn.#.kv_a_layernorm.weight", "blk.#.attn_kv_a_norm.weight", TensorForm::kPlain, true},
    {"model.layers.#.self_attn.#.kv_b_proj.weight", "blk.#.attn_kv_b.weight", TensorForm::kPlain, true},
    {"model.layers.#.self_attn.#.o_proj.weight", "blk.#.attn_output.weight", TensorForm::kPlain, true},
    {"model.layers.#.mlps.#.gate_proj.weight", "blk.#.ffn_gate.weight", TensorForm::kPlain, true},
    {"model.layers.#.mlps.#.up_proj.weight", "blk.#.ffn_up.weight", TensorForm::kPlain, true},
    {"model.layers.#.mlps.#.down_proj.weight", "blk.#.ffn_down.weight", TensorForm::kPlain, true},
    {"model.layers.#.mlp.router.classifier.weight", "blk.#.ffn_gate_inp.weight", TensorForm::kPlain, true},
    {"model.layers.#.mlp.router.classifier.bias", "blk.#.ffn_gate_inp.bias", TensorForm::kPlain, true},
    {"model.layers.#.mlp.router.e_score_correction_bias", "blk.#.exp_probs_b.bias", TensorForm::kPlain, true},
    {"model.layers.#.mlp.experts.#.gate_proj.weight", "blk.#.ffn_gate.#.weight", TensorForm::kPlain, true},
    {"model.layers.#.mlp.experts.#.up_proj.weight", "blk.#.ffn_up.#.weight", TensorForm::kPlain, true},
    {"model.layers.#.mlp.experts.#.down_proj.weight", "blk.#.ffn_down.#.weight", TensorForm::kPlain, true},
};

}  // namespace

std::span<const TensorRule> longcat_flash_tensors() {
  return kTensors;
}

ModelConfig declare_longcat_flash(const ConfigReader& r) {
  ModelConfig m = declare_sizes(r);
  MlaSpec attention = declare_mla(r);
  attention.scale *= yarn_scale_correction(r);
  const auto hidden = static_cast<float>(m.hidden_size);
  if (attention.q_rank > 0) attention.q_multiplier = std::sqrt(hidden / static_cast<float>(attention.q_rank));
  attention.latent_multiplier = std::sqrt(hidden / static_cast<float>(attention.kv_rank));
  m.ropes.push_back(
      read_rope(r, {.head_dim = attention.rope_dim, .default_theta = 1e7, .style = RopeStyle::kInterleaved}));
  const auto real = static_cast<int>(r.integer({"n_routed_experts", nullptr}, 1, kMaxExperts));
  const auto identities = static_cast<int>(r.integer_or({"zero_expert_num", nullptr}, 0, 0, kMaxExperts));
  RouterSpec router;
  router.experts = real + identities;
  router.selection_bias = true;
  router.select = TopK{static_cast<int>(r.integer({"moe_topk", nullptr}, 1, router.experts))};
  router.scale = static_cast<float>(r.number_or({"routed_scaling_factor", nullptr}, 6.0));
  const Key layers = {r.has({"num_layers", nullptr}) ? "num_layers" : "num_hidden_layers", nullptr};
  const std::int64_t count = r.integer(layers, 1, kMaxLayers);
  for (std::int64_t b = 0; b < 2 * count; ++b) {
    BlockSpec block;
    block.layer = static_cast<int>(b / 2);
    block.mixer = attention;
    block.ffn.activation = declare_activation(r);
    if (b % 2 == 0) {
      make_routed(block, router);
      for (int e = real; e < router.experts; ++e) block.moe.kinds[e] = ExpertKind::kCopy;
      block.moe.join_after = 1;
    }
    block.dense = true;
    m.blocks.push_back(block);
  }
  return m;
}

}  // namespace junto
