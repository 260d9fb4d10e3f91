// Decoders with grouped-query attention and DeepSeek-V3's routing: GLM-4.5 (arXiv 2508.06471), dots.llm1
// (arXiv 2506.05767), MiniMax-M2.
#include "model/architectures/common.h"
#include "model/architectures/declarations.h"

namespace junto {
namespace {

constexpr TensorRule kMiniMaxTensors[] = {
    {"model.layers.#.block_sparse_moe.gate.weight", "blk.#.ffn_gate_inp.weight"},
    {"model.layers.#.block_sparse_moe.e_score_correction_bias", "blk.#.exp_probs_b.bias"},
    {"model.layers.#.block_sparse_moe.experts.#.w1.weight", "blk.#.ffn_gate.#.weight"},
    {"model.layers.#.block_sparse_moe.experts.#.w2.weight", "blk.#.ffn_down.#.weight"},
    {"model.layers.#.block_sparse_moe.experts.#.w3.weight", "blk.#.ffn_up.#.weight"},
};

void add_grouped_sigmoid_experts(const ConfigReader& r, ModelConfig& m, bool renormalise_default) {
  const bool renormalise = r.boolean_or({"norm_topk_prob", "expert_weights_norm"}, renormalise_default);
  const auto scale = static_cast<float>(r.number_or({"routed_scaling_factor", "expert_weights_scale"}, 1.0));
  RouterSpec router = declare_sigmoid_router(r, renormalise, scale);
  router.select = grouped_top_k(r, max_experts_per_unit(router), router.experts, GroupLimited::GroupScore::kTopTwoSum);
  add_deepseek_experts(r, m, router);
}

bool dots1_sliding(const ConfigReader& r, std::size_t layer) {
  return r.has({"sliding_window", nullptr}) &&
         static_cast<std::int64_t>(layer) >= r.integer_or({"max_window_layers", nullptr}, 62, 0, INT32_MAX);
}

}  // namespace

std::span<const TensorRule> minimax_m2_tensors() {
  return kMiniMaxTensors;
}

ModelConfig declare_glm4_moe(const ConfigReader& r) {
  ModelConfig m = declare_decoder(r, {.partial_rotary_factor = 0.5});
  const bool qk_norm = r.gguf() ? r.checkpoint().find("blk.0.attn_q_norm.weight") != nullptr
                                : r.boolean_or({"use_qk_norm", nullptr}, false);
  for (BlockSpec& block : m.blocks) attention_of(block).qk_norm = qk_norm ? QkNorm::kPerHead : QkNorm::kNone;
  add_grouped_sigmoid_experts(r, m, true);
  return m;
}

ModelConfig declare_dots1(const ConfigReader& r) {
  ModelConfig m = declare_decoder(r);
  const std::vector<bool> sliding = sliding_layers(r, m.blocks.size(), dots1_sliding);
  const auto window = static_cast<int>(r.integer_or({"sliding_window", nullptr}, 4096, 0, INT32_MAX));
  for (std::size_t l = 0; l < m.blocks.size(); ++l) {
    attention_of(m.blocks[l]).qk_norm = QkNorm::kPerHead;
    if (sliding[l]) attention_of(m.blocks[l]).window = window;
  }
  add_grouped_sigmoid_experts(r, m, false);
  return m;
}

ModelConfig declare_minimax_m2(const ConfigReader& r) {
  RopeRequest rope{.default_theta = 5e6};
  if (r.has({"rotary_dim", nullptr})) {  // the published config's own name
    const std::int64_t dims = r.integer({"rotary_dim", nullptr}, 1, 65536);
    rope.partial_rotary_factor = static_cast<double>(dims) / declare_attention(r).head_dim;
  }
  ModelConfig m = declare_decoder(r, rope, 128);
  RouterSpec router = declare_sigmoid_router(r, true, 1.0f);
  router.renormalise_eps = 0.0f;
  for (BlockSpec& block : m.blocks) {
    attention_of(block).qk_norm = QkNorm::kFullWidth;
    make_routed(block, router);
  }
  return m;
}

}  // namespace junto
