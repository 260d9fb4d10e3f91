// Dynamic MoE (An et al., arXiv 2403.07652), as its authors released it (github.com/ZhenweiAn/Dynamic_MoE): Llama's
// decoder whose every expert_frequency-th layer, the first among them, routes each token to the fewest experts that
// have more than top_p_threshold of the softmax, weighed by its raw values.
#include <algorithm>
#include <cmath>
#include <string>

#include "model/architectures/common.h"
#include "model/architectures/declarations.h"

namespace junto {
namespace {

constexpr TensorRule kDynamicMoeTensors[] = {
    {"model.layers.#.input_norm.weight", "blk.#.attn_norm.weight"},
    {"model.layers.#.post_attention_norm.weight", "blk.#.ffn_norm.weight"},
    {"model.layers.#.mlp.router.weight", "blk.#.ffn_gate_inp.weight"},
    {"model.layers.#.mlp.mlp.gate_proj.weight", "blk.#.ffn_gate.weight"},
    {"model.layers.#.mlp.mlp.up_proj.weight", "blk.#.ffn_up.weight"},
    {"model.layers.#.mlp.mlp.down_proj.weight", "blk.#.ffn_down.weight"},
};

/// Llama's options that the released code does not read: every head has keys of its own, and angles are those of base
/// 10,000, whatever the configuration says.
constexpr const char* kUnread[] = {"num_key_value_heads", "head_dim",        "rope_theta",
                                   "rope_scaling",        "rope_parameters", "partial_rotary_factor"};

RouterSpec top_p_router(const ConfigReader& r) {
  const Key key = {"top_p_threshold", nullptr};
  const double p = r.number_or(key, 0.4);
  if (std::isnan(p)) r.refuse(key, "NaN", "a number");
  RouterSpec router;
  router.experts = expert_count(r);
  // Below 0 the best expert has more, above 1 all have less: as at the ends.
  router.select = TopP{.p = static_cast<float>(std::clamp(p, 0.0, 1.0)), .inclusive = true, .strict = true};
  router.weigh = Weigh::kRaw;
  return router;
}

}  // namespace

std::span<const TensorRule> dynamic_moe_tensors() {
  return kDynamicMoeTensors;
}

ModelConfig declare_dynamic_moe(const ConfigReader& r) {
  const ConfigReader read = r.without(kUnread);
  ModelConfig m = declare_decoder(read);
  const std::int64_t interval = read.integer_or({"expert_frequency", nullptr}, 2, 1, kMaxLayers);
  const RouterSpec router = top_p_router(read);
  for (BlockSpec& block : m.blocks) {
    if (block.layer % interval == 0) make_routed(block, router);
  }
  return m;
}

}  // namespace junto
