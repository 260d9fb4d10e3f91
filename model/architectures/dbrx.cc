// DBRX (Databricks, 2024): fused and clipped q, k, v; layer norms without biases; nested options with names of their
// own.
#include <cmath>

#include "model/architectures/common.h"
#include "model/architectures/declarations.h"

namespace junto {
namespace {

constexpr TensorRule kTensors[] = {
    {"transformer.wte.weight", "token_embd.weight"},
    {"transformer.norm_f.weight", "output_norm.weight"},
    {"transformer.blocks.#.norm_attn_norm.norm_1.weight", "blk.#.attn_norm.weight"},
    {"transformer.blocks.#.norm_attn_norm.norm_2.weight", "blk.#.ffn_norm.weight"},
    {"transformer.blocks.#.norm_attn_norm.attn.Wqkv.weight", "blk.#.attn_", TensorForm::kSplitQkv},
    {"transformer.blocks.#.norm_attn_norm.attn.out_proj.weight", "blk.#.attn_output.weight"},
    {"transformer.blocks.#.ffn.router.layer.weight", "blk.#.ffn_gate_inp.weight"},
    {"transformer.blocks.#.ffn.experts.mlp.w1", "blk.#.ffn_gate.#.weight", TensorForm::kExpertsRows},
    {"transformer.blocks.#.ffn.experts.mlp.v1", "blk.#.ffn_up.#.weight", TensorForm::kExpertsRows},
    {"transformer.blocks.#.ffn.experts.mlp.w2", "blk.#.ffn_down.#.weight", TensorForm::kExpertsRowsTranspose},
};

constexpr TensorRule kGgufTensors[] = {{"blk.#.attn_output_norm.weight", "blk.#.ffn_norm.weight"}};

RouterSpec declare_router(const ConfigReader& r) {
  RouterSpec router;
  router.experts = static_cast<int>(r.integer({"ffn_config.moe_num_experts", "expert_count"}, 1, kMaxExperts));
  router.select = TopK{static_cast<int>(r.integer({"ffn_config.moe_top_k", "expert_used_count"}, 1, router.experts))};
  const Key order = {"ffn_config.moe_normalize_expert_weights", nullptr};
  if (r.gguf() || r.has(order)) {
    if (!r.gguf() && r.number(order) != 1.0) r.refuse(order, std::to_string(r.number(order)), "1 or null");
    router.weigh = Weigh::kRenormalised;
  }
  return router;
}

}  // namespace

std::span<const TensorRule> dbrx_tensors() {
  return kTensors;
}

std::span<const TensorRule> dbrx_gguf_tensors() {
  return kGgufTensors;
}

ModelConfig declare_dbrx(const ConfigReader& r) {
  ModelConfig m;
  m.vocab_size = r.gguf() ? declare_sizes(r).vocab_size : r.integer({"vocab_size", nullptr}, 1, kMaxSize);
  m.hidden_size = r.integer({"d_model", "embedding_length"}, 1, kMaxSize);
  m.context_length = r.integer_or({"max_seq_len", "context_length"}, 2048, 1, INT64_C(1) << 40);
  m.norm = NormKind::kLayer;
  m.norm_eps = m.output_norm_eps = static_cast<float>(r.number_or({nullptr, "attention.layer_norm_epsilon"}, 1e-5));
  m.tied_embeddings = r.gguf() ? r.checkpoint().find("output.weight") == nullptr
                               : r.boolean_or({"tie_word_embeddings", nullptr}, false);
  AttentionSpec attention;
  attention.heads = static_cast<int>(r.integer({"n_heads", "attention.head_count"}, 1, 65536));
  attention.kv_heads =
      static_cast<int>(r.integer({"attn_config.kv_n_heads", "attention.head_count_kv"}, 1, attention.heads));
  if (m.hidden_size % attention.heads != 0 || attention.heads % attention.kv_heads != 0) {
    r.refuse({"n_heads", "attention.head_count"}, std::to_string(attention.heads),
             "a divisor of d_model and a multiple of kv_n_heads");
  }
  attention.head_dim = static_cast<int>(m.hidden_size / attention.heads);
  attention.scale = 1.0f / std::sqrt(static_cast<float>(attention.head_dim));
  attention.clip_qkv = static_cast<float>(r.number_or({"attn_config.clip_qkv", "attention.clamp_kqv"}, 0.0));
  attention.rope = 0;
  m.ropes.push_back(
      read_rope(r, {.head_dim = attention.head_dim, .theta = {"attn_config.rope_theta", "rope.freq_base"}}));
  BlockSpec block;
  block.mixer = attention;
  block.ffn.activation = declare_activation(r, ActivationKind::kSilu, {"ffn_config.ffn_act_fn.name", nullptr});
  make_routed(block, declare_router(r));
  const std::int64_t layers = r.integer({"n_layers", "block_count"}, 1, kMaxLayers);
  for (std::int64_t l = 0; l < layers; ++l) {
    block.layer = static_cast<int>(l);
    m.blocks.push_back(block);
  }
  return m;
}

}  // namespace junto
