// Hunyuan-A13B (Tencent, 2025): q and k norms after rotation, one shared expert, expert counts that may differ by
// layer.
#include "model/architectures/common.h"
#include "model/architectures/declarations.h"

namespace junto {
namespace {

constexpr TensorRule kTensors[] = {
    {"model.layers.#.self_attn.query_layernorm.weight", "blk.#.attn_q_norm.weight"},
    {"model.layers.#.self_attn.key_layernorm.weight", "blk.#.attn_k_norm.weight"},
    {"model.layers.#.mlp.gate.wg.weight", "blk.#.ffn_gate_inp.weight"},
    {"model.layers.#.mlp.shared_mlp.gate_proj.weight", "blk.#.ffn_gate_shexp.weight"},
    {"model.layers.#.mlp.shared_mlp.up_proj.weight", "blk.#.ffn_up_shexp.weight"},
    {"model.layers.#.mlp.shared_mlp.down_proj.weight", "blk.#.ffn_down_shexp.weight"},
};

}  // namespace

std::span<const TensorRule> hunyuan_moe_tensors() {
  return kTensors;
}

ModelConfig declare_hunyuan_moe(const ConfigReader& r) {
  ModelConfig m = declare_decoder(r);
  const auto layers = static_cast<std::int64_t>(m.blocks.size());
  const std::vector<std::int64_t> experts =
      r.integers_per_layer({"num_experts", "expert_count"}, layers, 1, kMaxExperts);
  const Key topk = {r.has({"moe_topk", nullptr}) ? "moe_topk" : "num_experts_per_tok", "expert_used_count"};
  const std::vector<std::int64_t> chosen = r.integers_per_layer(topk, layers, 1, kMaxExperts);
  for (std::int64_t l = 0; l < layers; ++l) {
    AttentionSpec& attention = attention_of(m.blocks[l]);
    attention.qk_norm = QkNorm::kPerHead;
    attention.norm_after_rope = true;
    if (chosen[l] > experts[l]) r.refuse(topk, std::to_string(chosen[l]), "at most " + std::to_string(experts[l]));
    RouterSpec router;
    router.experts = static_cast<int>(experts[l]);
    router.select = TopK{static_cast<int>(chosen[l])};
    router.weigh = Weigh::kRenormalised;
    make_routed(m.blocks[l], router);
    m.blocks[l].moe.shared_expert = true;
  }
  return m;
}

}  // namespace junto
