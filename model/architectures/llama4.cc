// Llama 4 (Meta, 2025), text: chunked attention with rotation, full attention without; one expert a token, weighed on
// its input, beside a shared one.
#include <algorithm>

#include "model/architectures/common.h"
#include "model/architectures/declarations.h"

namespace junto {
namespace {

constexpr TensorRule kTensors[] = {
    {"model.layers.#.feed_forward.gate_proj.weight", "blk.#.ffn_gate.weight"},
    {"model.layers.#.feed_forward.up_proj.weight", "blk.#.ffn_up.weight"},
    {"model.layers.#.feed_forward.down_proj.weight", "blk.#.ffn_down.weight"},
    {"model.layers.#.feed_forward.router.weight", "blk.#.ffn_gate_inp.weight"},
    {"model.layers.#.feed_forward.experts.gate_up_proj", "blk.#.ffn_gate.#.weight,blk.#.ffn_up.#.weight",
     TensorForm::kExpertsSplitColumns},
    {"model.layers.#.feed_forward.experts.down_proj", "blk.#.ffn_down.#.weight", TensorForm::kExpertsTranspose},
    {"model.layers.#.feed_forward.shared_expert.gate_proj.weight", "blk.#.ffn_gate_shexp.weight"},
    {"model.layers.#.feed_forward.shared_expert.up_proj.weight", "blk.#.ffn_up_shexp.weight"},
    {"model.layers.#.feed_forward.shared_expert.down_proj.weight", "blk.#.ffn_down_shexp.weight"},
};

// Per layer: is q and k rotated?
std::vector<bool> rotated_layers(const ConfigReader& r, std::size_t layers) {
  const std::vector<double> listed = r.numbers({"no_rope_layers", nullptr});  // 1: rotated, whatever the name says
  if (!listed.empty() && listed.size() != layers) {
    r.refuse({"no_rope_layers", nullptr}, "a list of " + std::to_string(listed.size()),
             std::to_string(layers) + " layers");
  }
  const std::int64_t interval = r.integer_or({"no_rope_layer_interval", nullptr}, 4, 1, kMaxLayers);
  std::vector<bool> rotated;
  for (std::size_t l = 0; l < layers; ++l) {
    rotated.push_back(listed.empty() ? (l + 1) % interval != 0 : listed[l] != 0);
  }
  return rotated;
}

bool is_routed(const ConfigReader& r, std::size_t layer) {
  const std::vector<double> listed = r.numbers({"moe_layers", nullptr});
  const std::int64_t step = r.integer_or({"interleave_moe_layer_step", "interleave_moe_layer_step"}, 1, 0, kMaxLayers);
  if (r.has({"moe_layers", nullptr})) return std::find(listed.begin(), listed.end(), double(layer)) != listed.end();
  return step > 0 && (layer + 1) % step == 0;
}

}  // namespace

std::span<const TensorRule> llama4_tensors() {
  return kTensors;
}

ModelConfig declare_llama4(const ConfigReader& r) {
  ModelConfig m = declare_decoder(r, {.default_theta = 500000.0, .style = RopeStyle::kInterleaved}, 128);
  RouterSpec router = declare_softmax_router(r, false);
  router.score = Score::kSigmoid;
  router.weight_on = WeightOn::kInput;
  const std::vector<bool> rotated = rotated_layers(r, m.blocks.size());
  std::vector<bool> chunked = rotated;
  if (r.has({"layer_types", nullptr})) chunked = sliding_layers(r, m.blocks.size(), nullptr);
  const auto chunk = static_cast<int>(
      r.integer_or({"attention_chunk_size", "attention.chunk_size"}, r.gguf() ? 8192 : 0, 0, INT32_MAX));
  const bool tuned = r.boolean_or({"attn_temperature_tuning", nullptr}, true);
  for (std::size_t l = 0; l < m.blocks.size(); ++l) {
    AttentionSpec& attention = attention_of(m.blocks[l]);
    if (chunked[l]) attention.chunk = chunk;
    if (rotated[l]) {
      if (r.boolean_or({"use_qk_norm", nullptr}, true)) attention.qk_norm = QkNorm::kL2;
      attention.norm_after_rope = true;
    } else {
      attention.rope = -1;
      if (tuned) {
        attention.temperature_floor =
            static_cast<float>(r.number_or({"floor_scale", "attention.temperature_length"}, 8192));
        attention.temperature_slope =
            static_cast<float>(r.number_or({"attn_scale", "attention.temperature_scale"}, 0.1));
      }
    }
    if (!is_routed(r, l)) continue;
    make_routed(m.blocks[l], router);
    m.blocks[l].moe.shared_expert = true;
  }
  return m;
}

}  // namespace junto
