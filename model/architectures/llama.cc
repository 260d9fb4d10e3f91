// Llama (arXiv 2407.21783), Mistral (arXiv 2310.06825) and Mixtral (arXiv 2401.04088).
#include "model/architectures/common.h"
#include "model/architectures/declarations.h"

namespace junto {
namespace {

constexpr TensorRule kMixtralTensors[] = {
    {"model.layers.#.block_sparse_moe.gate.weight", "blk.#.ffn_gate_inp.weight"},
    {"model.layers.#.block_sparse_moe.experts.#.w1.weight", "blk.#.ffn_gate.#.weight"},
    {"model.layers.#.block_sparse_moe.experts.#.w2.weight", "blk.#.ffn_down.#.weight"},
    {"model.layers.#.block_sparse_moe.experts.#.w3.weight", "blk.#.ffn_up.#.weight"},
};

void add_mixtral_experts(const ConfigReader& r, ModelConfig& m) {
  const RouterSpec router = declare_softmax_router(r, true);
  for (BlockSpec& block : m.blocks) make_routed(block, router);
}

bool all_layers(const ConfigReader&, std::size_t) {
  return true;
}

}  // namespace

std::span<const TensorRule> mixtral_tensors() {
  return kMixtralTensors;
}

ModelConfig declare_llama(const ConfigReader& r) {
  ModelConfig m = declare_decoder(r, {.style = llama_rope_style(r)});
  if (r.gguf() && r.integer_or({nullptr, "expert_count"}, 0, 0, kMaxExperts) > 0) add_mixtral_experts(r, m);
  return m;
}

ModelConfig declare_mistral(const ConfigReader& r) {
  ModelConfig m = declare_llama(r);
  const std::int64_t window = r.integer_or({"sliding_window", nullptr}, 0, 0, INT32_MAX);
  // Ministral: some layers see all; where layer_types is absent, none does.
  const std::vector<bool> sliding = sliding_layers(r, m.blocks.size(), all_layers);
  for (std::size_t l = 0; l < m.blocks.size(); ++l) {
    if (sliding[l]) attention_of(m.blocks[l]).window = static_cast<int>(window);
  }
  return m;
}

ModelConfig declare_mixtral(const ConfigReader& r) {
  ModelConfig m = declare_mistral(r);
  add_mixtral_experts(r, m);
  return m;
}

}  // namespace junto
