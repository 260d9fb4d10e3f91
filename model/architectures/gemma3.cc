// Gemma 3 (arXiv 2503.19786), text: norms before and after each sublayer with weights 1 + w, five sliding layers for
// each full one, a rotation base for each kind.
#include <cmath>

#include "model/architectures/common.h"
#include "model/architectures/declarations.h"

namespace junto {
namespace {

constexpr TensorRule kTensors[] = {
    {"model.layers.#.post_attention_layernorm.weight", "blk.#.post_attention_norm.weight"},
    {"model.layers.#.pre_feedforward_layernorm.weight", "blk.#.ffn_norm.weight"},
    {"model.layers.#.post_feedforward_layernorm.weight", "blk.#.post_ffw_norm.weight"},
};

bool sliding_by_pattern(const ConfigReader& r, std::size_t layer) {
  const std::int64_t pattern = r.integer_or({"sliding_window_pattern", nullptr}, 6, 1, kMaxLayers);
  return (static_cast<std::int64_t>(layer) + 1) % pattern != 0;
}

}  // namespace

std::span<const TensorRule> gemma3_tensors() {
  return kTensors;
}

ModelConfig declare_gemma3(const ConfigReader& r) {
  ModelConfig m = declare_decoder(r, {.default_theta = 1e6, .layer_type = "full_attention"}, 256);
  const bool newer = r.has({"rope_parameters", nullptr});
  m.ropes.push_back(read_rope(r, {.head_dim = attention_of(m.blocks[0]).head_dim,
                                  .layer_type = "sliding_attention",
                                  .theta = {"rope_local_base_freq", "rope.freq_base_swa"},
                                  .scaled = newer}));
  m.embedding_multiplier = std::sqrt(static_cast<float>(m.hidden_size));
  m.norm_plus_one = !r.gguf();  // llama.cpp adds the 1 when it converts
  m.logit_softcap = static_cast<float>(r.number_or({"final_logit_softcapping", "final_logit_softcapping"}, 0.0));
  if (r.boolean_or({"use_bidirectional_attention", nullptr}, false)) {
    r.refuse({"use_bidirectional_attention", nullptr}, "true", "false (a decoder)");
  }
  const std::vector<bool> sliding = sliding_layers(r, m.blocks.size(), sliding_by_pattern);
  const auto window =
      static_cast<int>(r.integer_or({"sliding_window", "attention.sliding_window"}, 4096, 0, INT32_MAX));
  // llama.cpp stores no scale and knows the one size that has another by its depth.
  const AttentionSpec& first = attention_of(m.blocks[0]);
  const bool largest = r.gguf() && m.blocks.size() == 62;
  const double scalar = r.number_or({"query_pre_attn_scalar", nullptr},
                                    largest ? static_cast<double>(m.hidden_size / first.heads) : first.head_dim);
  for (std::size_t l = 0; l < m.blocks.size(); ++l) {
    BlockSpec& block = m.blocks[l];
    block.mixer_norm.post = block.ffn_norm.post = true;
    block.ffn.activation = declare_activation(r, ActivationKind::kGeluTanh, {"hidden_activation", nullptr});
    AttentionSpec& attention = attention_of(block);
    attention.qk_norm = QkNorm::kPerHead;
    attention.scale = static_cast<float>(1.0 / std::sqrt(scalar));
    if (!sliding[l]) continue;
    attention.window = window;
    attention.rope = 1;
  }
  return m;
}

}  // namespace junto
