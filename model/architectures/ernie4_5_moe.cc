// ERNIE 4.5 MoE (Baidu, 2025): softmax scores, a bias that selects, a clamped sum of weights, rotation of neighbours.
#include "model/architectures/common.h"
#include "model/architectures/declarations.h"

namespace junto {
namespace {

constexpr TensorRule kTensors[] = {
    {"model.layers.#.mlp.moe_statics.e_score_correction_bias", "blk.#.exp_probs_b.bias"},
};

}  // namespace

std::span<const TensorRule> ernie4_5_moe_tensors() {
  return kTensors;
}

ModelConfig declare_ernie4_5_moe(const ConfigReader& r) {
  ModelConfig m = declare_decoder(r, {.default_theta = 500000.0, .style = RopeStyle::kInterleaved});
  RouterSpec router = declare_softmax_router(r, true);
  router.selection_bias = true;
  router.renormalise_min = static_cast<float>(r.number_or({"moe_norm_min", nullptr}, 1e-12));
  const auto layers = static_cast<std::int64_t>(m.blocks.size());
  const std::int64_t first = r.integer_or({"moe_layer_start_index", "leading_dense_block_count"}, 1, 0, kMaxLayers);
  std::int64_t last = r.integer_or({"moe_layer_end_index", nullptr}, -1, -1, kMaxLayers);
  if (last < 0) last = layers - 1;
  const std::int64_t step = r.integer_or({"moe_layer_interval", "interleave_moe_layer_step"}, 1, 1, kMaxLayers);
  const bool shared = r.gguf() ? r.integer_or({nullptr, "expert_shared_feed_forward_length"}, 0, 0, kMaxSize) > 0
                               : r.integer_or({"moe_num_shared_experts", nullptr}, 2, 0, kMaxExperts) > 0;
  for (std::int64_t l = first; l <= last && l < layers; ++l) {
    if ((l + 1) % step != 0) continue;
    make_routed(m.blocks[l], router);
    m.blocks[l].moe.shared_expert = shared;
  }
  return m;
}

}  // namespace junto
