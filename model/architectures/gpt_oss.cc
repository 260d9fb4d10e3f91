// gpt-oss (arXiv 2508.10925): attention sinks, alternating windows, clamped SwiGLU experts with biases.
#include "model/architectures/common.h"
#include "model/architectures/declarations.h"

namespace junto {
namespace {

constexpr TensorRule kTensors[] = {
    {"model.layers.#.self_attn.sinks", "blk.#.attn_sinks.weight"},
    {"model.layers.#.mlp.router.weight", "blk.#.ffn_gate_inp.weight"},
    {"model.layers.#.mlp.router.bias", "blk.#.ffn_gate_inp.bias"},
    {"model.layers.#.mlp.experts.gate_up_proj", "blk.#.ffn_gate.#.weight,blk.#.ffn_up.#.weight",
     TensorForm::kExpertsInterleaved},
    {"model.layers.#.mlp.experts.gate_up_proj_bias", "blk.#.ffn_gate.#.bias,blk.#.ffn_up.#.bias",
     TensorForm::kExpertsBiasInterleaved},
    {"model.layers.#.mlp.experts.down_proj", "blk.#.ffn_down.#.weight", TensorForm::kExpertsTranspose},
    {"model.layers.#.mlp.experts.down_proj_bias", "blk.#.ffn_down_exps.bias"},
};

// llama.cpp calls the norm before the experts by the published name.
constexpr TensorRule kGgufTensors[] = {{"blk.#.post_attention_norm.weight", "blk.#.ffn_norm.weight"}};

bool even_layers(const ConfigReader&, std::size_t layer) {
  return layer % 2 == 0;
}

}  // namespace

std::span<const TensorRule> gpt_oss_tensors() {
  return kTensors;
}
std::span<const TensorRule> post_norm_gguf_tensors() {
  return kGgufTensors;
}

ModelConfig declare_gpt_oss(const ConfigReader& r) {
  if (!r.gguf() && !r.has({"rope_parameters", nullptr}) && !r.has({"rope_scaling", nullptr})) {
    Json config = r.json();  // what the published class takes then
    config["rope_scaling"] = {{"rope_type", "yarn"}, {"factor", 32.0},    {"beta_fast", 32.0},
                              {"beta_slow", 1.0},    {"truncate", false}, {"original_max_position_embeddings", 4096}};
    return declare_gpt_oss(ConfigReader(r.checkpoint(), config));
  }
  ModelConfig m = declare_decoder(r, {.default_theta = 150000.0}, 64);
  Activation activation;
  activation.kind = ActivationKind::kSwigluOai;
  activation.limit = static_cast<float>(r.number_or({"swiglu_limit", nullptr}, 7.0));
  activation.alpha = static_cast<float>(r.number_or({"swiglu_alpha", nullptr}, 1.702));
  const RouterSpec router = declare_logit_router(r);
  const std::vector<bool> sliding = sliding_layers(r, m.blocks.size(), even_layers);
  const auto window = static_cast<int>(r.integer_or({"sliding_window", "attention.sliding_window"}, 128, 0, INT32_MAX));
  for (std::size_t l = 0; l < m.blocks.size(); ++l) {
    m.blocks[l].ffn.activation = activation;
    make_routed(m.blocks[l], router);
    attention_of(m.blocks[l]).sinks = true;
    if (sliding[l]) attention_of(m.blocks[l]).window = window;
  }
  return m;
}

}  // namespace junto
