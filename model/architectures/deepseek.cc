// DeepSeek-V2 (arXiv 2405.04434): latent attention, softmax scores. DeepSeek-V3 (arXiv 2412.19437): sigmoid scores, a
// bias that selects only, groups of experts.
#include <cmath>
#include <string>

#include "model/architectures/common.h"
#include "model/architectures/declarations.h"

namespace junto {
namespace {

constexpr TensorRule kTensors[] = {
    {"model.layers.#.self_attn.q_a_proj.weight", "blk.#.attn_q_a.weight"},
    {"model.layers.#.self_attn.q_a_proj.bias", "blk.#.attn_q_a.bias"},
    {"model.layers.#.self_attn.q_a_layernorm.weight", "blk.#.attn_q_a_norm.weight"},
    {"model.layers.#.self_attn.q_b_proj.weight", "blk.#.attn_q_b.weight"},
    {"model.layers.#.self_attn.kv_a_proj_with_mqa.weight", "blk.#.attn_kv_a_mqa.weight"},
    {"model.layers.#.self_attn.kv_a_proj_with_mqa.bias", "blk.#.attn_kv_a_mqa.bias"},
    {"model.layers.#.self_attn.kv_a_layernorm.weight", "blk.#.attn_kv_a_norm.weight"},
    {"model.layers.#.self_attn.kv_b_proj.weight", "blk.#.attn_kv_b.weight"},
};

}  // namespace

std::span<const TensorRule> deepseek_tensors() {
  return kTensors;
}

// GGUF: key_length is nope + rope; newer files describe the compressed cache there and keep the heads' own in *_mla.
MlaSpec declare_mla(const ConfigReader& r) {
  MlaSpec a;
  const auto size = [&](Key key) { return static_cast<int>(r.integer(key, 1, 65536)); };
  a.heads = size({"num_attention_heads", "attention.head_count"});
  a.q_rank = static_cast<int>(r.integer_or({"q_lora_rank", "attention.q_lora_rank"}, 0, 0, kMaxSize));
  a.kv_rank = size({"kv_lora_rank", "attention.kv_lora_rank"});
  a.rope_dim = size({"qk_rope_head_dim", "rope.dimension_count"});
  if (r.gguf()) {
    const bool compressed = r.has({nullptr, "attention.key_length_mla"});
    const int key = size({nullptr, compressed ? "attention.key_length_mla" : "attention.key_length"});
    a.value_dim = size({nullptr, compressed ? "attention.value_length_mla" : "attention.value_length"});
    if (key <= a.rope_dim)
      r.refuse({nullptr, "attention.key_length"}, std::to_string(key), "more than rope.dimension_count");
    a.nope_dim = key - a.rope_dim;
  } else {
    a.nope_dim = size({"qk_nope_head_dim", nullptr});
    a.value_dim = size({"v_head_dim", nullptr});
  }
  a.scale = 1.0f / std::sqrt(static_cast<float>(a.nope_dim + a.rope_dim));
  a.rope = 0;
  // The published models fix it, whatever rms_norm_eps is; llama.cpp takes that.
  if (r.gguf()) a.norm_eps = static_cast<float>(r.number_or({nullptr, "attention.layer_norm_rms_epsilon"}, 1e-6));
  return a;
}

SelectRule grouped_top_k(const ConfigReader& r, int k, int experts, GroupLimited::GroupScore score) {
  const int groups = static_cast<int>(r.integer_or({"n_group", "expert_group_count"}, 1, 1, experts));
  if (groups == 1) return TopK{k};
  if (experts % groups != 0)
    r.refuse({"n_group", "expert_group_count"}, std::to_string(groups), "a divisor of the number of experts");
  const int top = static_cast<int>(r.integer_or({"topk_group", "expert_group_used_count"}, groups, 1, groups));
  return GroupLimited{k, groups, top, score};
}

// Routed blocks follow the first `first_k_dense_replace` ones; shared experts beside them.
void add_deepseek_experts(const ConfigReader& r, ModelConfig& m, const RouterSpec& router) {
  const std::int64_t dense = r.integer_or({"first_k_dense_replace", "leading_dense_block_count"}, 0, 0, kMaxLayers);
  const std::int64_t step = r.integer_or({"moe_layer_freq", nullptr}, 1, 1, kMaxLayers);
  const bool shared = r.integer_or({"n_shared_experts", "expert_shared_count"}, 0, 0, kMaxExperts) > 0;
  for (std::size_t l = dense; l < m.blocks.size(); ++l) {
    if (l % step != 0) continue;
    make_routed(m.blocks[l], router);
    m.blocks[l].moe.shared_expert = shared;
  }
}

// Latent attention in every layer and a dense feed-forward; `interleaved` pairs neighbours.
ModelConfig declare_latent_decoder(const ConfigReader& r, bool interleaved) {
  ModelConfig m = declare_sizes(r);
  MlaSpec attention = declare_mla(r);
  m.ropes.push_back(read_rope(
      r, {.head_dim = attention.rope_dim, .style = interleaved ? RopeStyle::kInterleaved : RopeStyle::kHalf}));
  attention.scale *= yarn_scale_correction(r);
  BlockSpec block;
  block.mixer = attention;
  block.dense = true;
  block.ffn.activation = declare_activation(r);
  const std::int64_t layers = layer_count(r);
  for (std::int64_t l = 0; l < layers; ++l) {
    block.layer = static_cast<int>(l);
    m.blocks.push_back(block);
  }
  return m;
}

ModelConfig declare_deepseek_v2(const ConfigReader& r) {
  ModelConfig m = declare_latent_decoder(r, true);
  RouterSpec router = declare_softmax_router(r, false);
  const std::string method = r.text_or({"topk_method", nullptr}, "greedy");
  const int k = max_experts_per_unit(router);
  if (method == "group_limited_greedy" || r.gguf()) {
    // llama.cpp has one rule for all models with groups.
    const auto score = r.gguf() ? GroupLimited::GroupScore::kTopTwoSum : GroupLimited::GroupScore::kMax;
    router.select = grouped_top_k(r, k, router.experts, score);
  } else if (method != "greedy") {
    r.refuse({"topk_method", nullptr}, method, "greedy or group_limited_greedy");
  }
  router.scale = static_cast<float>(r.number_or({"routed_scaling_factor", "expert_weights_scale"}, 1.0));
  add_deepseek_experts(r, m, router);
  return m;
}

ModelConfig declare_deepseek_v3(const ConfigReader& r) {
  // llama.cpp has one architecture for both; the gating function tells them apart (1: softmax, 2: sigmoid).
  if (r.gguf() && r.integer_or({nullptr, "expert_gating_func"}, 1, 0, 8) != 2) return declare_deepseek_v2(r);
  ModelConfig m = declare_latent_decoder(r, r.gguf() || r.boolean_or({"rope_interleave", nullptr}, true));
  const bool renormalise = r.boolean_or({"norm_topk_prob", "expert_weights_norm"}, true);
  const auto scale = static_cast<float>(r.number_or({"routed_scaling_factor", "expert_weights_scale"}, 2.5));
  RouterSpec router = declare_sigmoid_router(r, renormalise, scale);
  router.select = grouped_top_k(r, max_experts_per_unit(router), router.experts, GroupLimited::GroupScore::kTopTwoSum);
  add_deepseek_experts(r, m, router);
  return m;
}

}  // namespace junto
