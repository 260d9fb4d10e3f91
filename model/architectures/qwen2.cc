// Qwen2 and Qwen2-MoE (arXiv 2407.10671): biases on q, k, v; a shared expert behind a sigmoid gate.
#include <algorithm>

#include "model/architectures/common.h"
#include "model/architectures/declarations.h"

namespace junto {
namespace {

constexpr TensorRule kTensors[] = {
    {"model.layers.#.mlp.shared_expert.gate_proj.weight", "blk.#.ffn_gate_shexp.weight"},
    {"model.layers.#.mlp.shared_expert.up_proj.weight", "blk.#.ffn_up_shexp.weight"},
    {"model.layers.#.mlp.shared_expert.down_proj.weight", "blk.#.ffn_down_shexp.weight"},
    {"model.layers.#.mlp.shared_expert_gate.weight", "blk.#.ffn_gate_inp_shexp.weight"},
};

bool from_max_window_layers(const ConfigReader& r, std::size_t layer) {
  return static_cast<std::int64_t>(layer) >= r.integer_or({"max_window_layers", nullptr}, 28, 0, INT32_MAX);
}

bool alternating(const ConfigReader& r, std::size_t layer) {
  return layer % 2 == 0 && !from_max_window_layers(r, layer);
}

void add_windows(const ConfigReader& r, ModelConfig& m, bool (*fallback)(const ConfigReader&, std::size_t)) {
  if (r.gguf() || !r.boolean_or({"use_sliding_window", nullptr}, false)) return;
  const auto window = static_cast<int>(r.integer_or({"sliding_window", nullptr}, 4096, 0, INT32_MAX));
  const std::vector<bool> sliding = sliding_layers(r, m.blocks.size(), fallback);
  for (std::size_t l = 0; l < m.blocks.size(); ++l) {
    if (sliding[l]) attention_of(m.blocks[l]).window = window;
  }
}

}  // namespace

std::span<const TensorRule> qwen2_moe_tensors() {
  return kTensors;
}

// Routed: every decoder_sparse_step-th layer that mlp_only_layers does not name.
void add_qwen_experts(const ConfigReader& r, ModelConfig& m, const RouterSpec& router) {
  const std::int64_t step = r.integer_or({"decoder_sparse_step", nullptr}, 1, 1, kMaxLayers);
  const std::vector<double> dense = r.numbers({"mlp_only_layers", nullptr});
  for (std::size_t l = 0; l < m.blocks.size(); ++l) {
    const bool listed = std::find(dense.begin(), dense.end(), static_cast<double>(l)) != dense.end();
    if (!listed && (l + 1) % step == 0) make_routed(m.blocks[l], router);
  }
}

ModelConfig declare_qwen_decoder(const ConfigReader& r, int head_dim) {
  ModelConfig m = declare_decoder(r, {}, head_dim);
  add_windows(r, m, from_max_window_layers);
  return m;
}

ModelConfig declare_qwen2(const ConfigReader& r) {
  return declare_qwen_decoder(r, 0);
}

ModelConfig declare_qwen2_moe(const ConfigReader& r) {
  ModelConfig m = declare_decoder(r);
  add_windows(r, m, alternating);
  add_qwen_experts(r, m, declare_softmax_router(r, r.boolean_or({"norm_topk_prob", "expert_weights_norm"}, false)));
  for (BlockSpec& block : m.blocks) {
    block.moe.shared_expert = block.moe.shared_gate = block.routed;
  }
  return m;
}

}  // namespace junto
