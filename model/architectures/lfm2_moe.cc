// LFM2-MoE (Liquid AI, 2025): gated short convolutions with a few attention layers; sigmoid routing.
#include "model/architectures/common.h"
#include "model/architectures/declarations.h"

namespace junto {
namespace {

constexpr TensorRule kTensors[] = {
    {"model.embedding_norm.weight", "output_norm.weight"},
    {"model.layers.#.operator_norm.weight", "blk.#.attn_norm.weight"},
    {"model.layers.#.ffn_norm.weight", "blk.#.ffn_norm.weight"},
    {"model.layers.#.conv.conv.weight", "blk.#.shortconv.conv.weight", TensorForm::kSqueeze},
    {"model.layers.#.conv.conv.bias", "blk.#.shortconv.conv.bias"},
    {"model.layers.#.conv.in_proj.weight", "blk.#.shortconv.in_proj.weight"},
    {"model.layers.#.conv.in_proj.bias", "blk.#.shortconv.in_proj.bias"},
    {"model.layers.#.conv.out_proj.weight", "blk.#.shortconv.out_proj.weight"},
    {"model.layers.#.conv.out_proj.bias", "blk.#.shortconv.out_proj.bias"},
    {"model.layers.#.self_attn.out_proj.weight", "blk.#.attn_output.weight"},
    {"model.layers.#.self_attn.q_layernorm.weight", "blk.#.attn_q_norm.weight"},
    {"model.layers.#.self_attn.k_layernorm.weight", "blk.#.attn_k_norm.weight"},
    {"model.layers.#.feed_forward.w1.weight", "blk.#.ffn_gate.weight"},
    {"model.layers.#.feed_forward.w2.weight", "blk.#.ffn_down.weight"},
    {"model.layers.#.feed_forward.w3.weight", "blk.#.ffn_up.weight"},
    {"model.layers.#.feed_forward.gate.weight", "blk.#.ffn_gate_inp.weight"},
    {"model.layers.#.feed_forward.expert_bias", "blk.#.exp_probs_b.bias"},
    {"model.layers.#.feed_forward.experts.#.w1.weight", "blk.#.ffn_gate.#.weight"},
    {"model.layers.#.feed_forward.experts.#.w2.weight", "blk.#.ffn_down.#.weight"},
    {"model.layers.#.feed_forward.experts.#.w3.weight", "blk.#.ffn_up.#.weight"},
};

constexpr TensorRule kGgufTensors[] = {{"token_embd_norm.weight", "output_norm.weight"}};

// GGUF: a layer without KV heads is a convolution.
std::vector<bool> convolution_layers(const ConfigReader& r, std::int64_t layers) {
  std::vector<bool> out;
  if (r.gguf()) {
    for (const std::int64_t heads : r.integers_per_layer({nullptr, "attention.head_count_kv"}, layers, 0, 65536)) {
      out.push_back(heads == 0);
    }
    return out;
  }
  const std::vector<std::string> types = r.texts({"layer_types", nullptr});
  if (static_cast<std::int64_t>(types.size()) != layers) {
    r.refuse({"layer_types", nullptr}, "a list of " + std::to_string(types.size()), std::to_string(layers) + " layers");
  }
  for (const std::string& type : types) {
    if (type != "conv" && type != "full_attention") r.refuse({"layer_types", nullptr}, type, "conv or full_attention");
    out.push_back(type == "conv");
  }
  return out;
}

}  // namespace

std::span<const TensorRule> lfm2_moe_tensors() {
  return kTensors;
}
std::span<const TensorRule> lfm2_moe_gguf_tensors() {
  return kGgufTensors;
}

ModelConfig declare_lfm2_moe(const ConfigReader& r) {
  ModelConfig m = declare_decoder(r, {.default_theta = 1e6});
  m.norm_eps = m.output_norm_eps =
      static_cast<float>(r.number_or({"norm_eps", "attention.layer_norm_rms_epsilon"}, 1e-5));
  const bool renormalise = r.boolean_or({"norm_topk_prob", "expert_weights_norm"}, true);
  const auto scale = static_cast<float>(r.number_or({"routed_scaling_factor", "expert_weights_scale"}, 1.0));
  RouterSpec router = declare_sigmoid_router(r, renormalise, scale);
  router.selection_bias = r.boolean_or({"use_expert_bias", nullptr}, true);
  router.renormalise_eps = 1e-6f;
  const std::int64_t dense = r.integer_or({"num_dense_layers", "leading_dense_block_count"}, 2, 0, kMaxLayers);
  const std::vector<bool> convolution = convolution_layers(r, static_cast<std::int64_t>(m.blocks.size()));
  const int taps = static_cast<int>(r.integer_or({"conv_L_cache", "shortconv.l_cache"}, 3, 1, 1024));
  for (std::size_t l = 0; l < m.blocks.size(); ++l) {
    attention_of(m.blocks[l]).qk_norm = QkNorm::kPerHead;
    if (convolution[l]) m.blocks[l].mixer = ShortConvSpec{taps};
    if (static_cast<std::int64_t>(l) >= dense) make_routed(m.blocks[l], router);
  }
  return m;
}

}  // namespace junto
