#include "train/loop/export.h"

#include <ATen/ATen.h>

#include <optional>
#include <vector>

#include "format/gguf.h"
#include "model/config.h"
#include "model/stored_paths.h"
#include "model/stored_routing.h"
#include "moe/json_fields.h"
#include "train/loop/model_tensors.h"

namespace junto {
namespace {

/// config.json of the plain decoder.
Json config_of(const LanguageModelShape& shape) {
  Json config = {{"architectures", {shape.qk_norm ? "Qwen3ForCausalLM" : "LlamaForCausalLM"}},
                 {"model_type", shape.qk_norm ? "qwen3" : "llama"},
                 {"vocab_size", shape.vocabulary},
                 {"hidden_size", shape.hidden},
                 {"num_hidden_layers", shape.layers},
                 {"num_attention_heads", shape.heads},
                 {"num_key_value_heads", shape.kv_heads},
                 {"head_dim", shape.head_dim},
                 {"intermediate_size", std::max(shape.dense_width, shape.expert_width)},
                 {"max_position_embeddings", shape.context},
                 {"rope_theta", json_number(shape.rope_theta)},
                 {"rms_norm_eps", json_number(shape.norm_eps)},
                 {"hidden_act", "silu"},
                 {"tie_word_embeddings", shape.tied_embeddings}};
  if (shape.norm == NormKind::kLayer) config["junto_layer_norm"] = true;
  return config;
}

/// Of the routed layers, as stored_routing() says it of a model whose plain form is dense.
std::optional<Json> routing_of(const LanguageModelShape& shape) {
  ModelConfig plain, routed;
  plain.blocks.resize(shape.layers);
  routed.blocks.resize(shape.layers);
  for (std::int64_t layer = 0; layer < shape.layers; ++layer) {
    if (!shape.routed(layer)) {
      routed.blocks[layer].ffn.activation = shape.activation;
      set_norms(routed.blocks[layer], shape.norms);
      continue;
    }
    make_routed(routed.blocks[layer], shape.router);
    set_norms(routed.blocks[layer], shape.norms);
    MoeSpec& moe = routed.blocks[layer].moe;
    for (int e = 0; e < shape.router.experts; ++e) moe.kinds[e] = shape.kind_of(e);
    moe.activation = shape.activation;
    moe.shared_expert = shape.shared_width > 0;
    if (moe.shared_expert && shape.activation != Activation()) moe.shared_activation = Activation();
    moe.rounds = shape.rounds;
    moe.residual = shape.residual_of(layer);
    moe.router_back = shape.router_back;
    moe.input_scale = shape.input_scale;
  }
  return stored_routing(routed, plain);
}

struct Tensors : ModelTensors {
  /// gate and up stand stacked along `dimension`, or up stands alone.
  void add_gate_up(const std::string& prefix, const std::string& suffix, const at::Tensor& gate_up,
                   std::int64_t dimension, bool gated) {
    if (!gate_up.defined()) return;
    if (!gated) return add(prefix + "ffn_up" + suffix, gate_up);
    const std::int64_t width = gate_up.size(dimension) / 2;
    add(prefix + "ffn_gate" + suffix, gate_up.narrow(dimension, 0, width));
    add(prefix + "ffn_up" + suffix, gate_up.narrow(dimension, width, width));
  }
};

void add_experts(const LanguageModelShape& shape, const MoeParameters& moe, const std::string& prefix,
                 Tensors& tensors) {
  tensors.add_gate_up(prefix, "_shexp.weight", moe.gate_up, 0, true);
  tensors.add(prefix + "ffn_down_shexp.weight", moe.down);
  for (std::size_t r = 0; r < moe.routers.size(); ++r) {
    const std::string number = r > 0 ? "." + std::to_string(r) : "";
    tensors.add(prefix + "ffn_gate_inp_hidden" + number + ".weight", moe.routers[r].hidden);
    tensors.add(prefix + "ffn_gate_inp" + number + ".weight", moe.routers[r].logits);
    tensors.add(prefix + "ffn_gate_res" + number + ".weight", moe.routers[r].residual);
    tensors.add(prefix + "exp_probs_b" + number + ".bias", moe.routers[r].selection_bias);
  }
  tensors.add_gate_up(prefix, "_exps.weight", moe.expert_gate_up, 1, shape.activation.gated);
  tensors.add(prefix + "ffn_down_exps.weight", moe.expert_down);
  for (int c = 0; c < shape.constant_experts; ++c) {
    const std::string suffix = "." + std::to_string(shape.weighted_experts() + c) + ".weight";
    tensors.add(prefix + "ffn_constant" + suffix, moe.constants[c]);
    tensors.add(prefix + "ffn_constant_mix" + suffix, moe.constant_mix[c]);
  }
}

}  // namespace

void export_gguf(const LanguageModel& model, const GgufTokenizerData& tokenizer, const std::string& path,
                 const std::string& name) {
  const LanguageModelShape& shape = model.shape();
  const Json config = config_of(shape);
  Metadata metadata;
  metadata.set("general.architecture", std::string("junto"));
  metadata.set("general.name", name);
  metadata.set("junto.base_architecture", config["architectures"][0].get<std::string>());
  metadata.set("junto.config", config.dump());
  if (!shape.path_experts.empty()) metadata.set(kStoredPathsKey, stored_paths(shape.path_experts).dump());
  if (const std::optional<Json> routing = routing_of(shape)) metadata.set("junto.router", routing->dump());
  if (shape.path_experts.empty()) {  // a predictor of paths reads the ids of another model
    GgufTokenizerData stored = tokenizer;
    for (std::int64_t id = std::ssize(stored.tokens); id < shape.vocabulary; ++id) {  // rows without a token
      stored.types.resize(static_cast<std::size_t>(id), 1);
      stored.tokens.push_back("[PAD" + std::to_string(id) + "]");
      stored.types.push_back(5);
    }
    store_tokenizer(stored, metadata);
  }

  Tensors tensors;
  tensors.add("token_embd.weight", model.embedding());
  for (std::int64_t layer = 0; layer < shape.layers; ++layer) {
    const LanguageModel::Block& b = model.blocks()[layer];
    const std::string prefix = "blk." + std::to_string(layer) + ".";
    const auto add_norm = [&](const std::string& role, const at::Tensor& weight, const at::Tensor& bias) {
      tensors.add(prefix + role + ".weight", weight);
      tensors.add(prefix + role + ".bias", bias);
    };
    add_norm("attn_norm", b.attn_norm, b.attn_norm_bias);
    add_norm("attn_output_norm", b.attn_sum_norm, b.attn_sum_norm_bias);
    tensors.add(prefix + "attn_q.weight", b.q);
    tensors.add(prefix + "attn_k.weight", b.k);
    tensors.add(prefix + "attn_v.weight", b.v);
    tensors.add(prefix + "attn_q_norm.weight", b.q_norm);
    tensors.add(prefix + "attn_k_norm.weight", b.k_norm);
    tensors.add(prefix + "attn_output.weight", b.output);
    add_norm("ffn_norm", b.ffn_norm, b.ffn_norm_bias);
    const bool again = b.ffn_second_norm.defined();
    add_norm(again ? "ffn_output_norm" : "layer_output_norm", b.ffn_sum_norm, b.ffn_sum_norm_bias);
    add_norm("layer_output_norm", b.ffn_second_norm, b.ffn_second_norm_bias);
    if (shape.routed(layer)) {
      add_experts(shape, b, prefix, tensors);
      continue;
    }
    tensors.add_gate_up(prefix, ".weight", b.gate_up, 0, shape.activation.gated);
    tensors.add(prefix + "ffn_down.weight", b.down);
  }
  tensors.add("output_norm.weight", model.output_norm());
  tensors.add("output_norm.bias", model.output_norm_bias());
  if (!shape.tied_embeddings) tensors.add("output.weight", model.head());
  write_gguf(path, metadata, tensors.out);
}

}  // namespace junto
