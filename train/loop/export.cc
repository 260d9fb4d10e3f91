#include "train/loop/export.h"

#include <ATen/ATen.h>

#include <vector>

#include "format/gguf.h"
#include "model/config.h"
#include "model/stored_routing.h"
#include "moe/json_fields.h"

namespace junto {
namespace {

/// config.json of the plain decoder.
Json config_of(const LanguageModelShape& shape) {
  return {{"architectures", {shape.qk_norm ? "Qwen3ForCausalLM" : "LlamaForCausalLM"}},
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
}

/// Of the routed layers, as stored_routing() says it of a model whose plain form is dense.
Json routing_of(const LanguageModelShape& shape) {
  ModelConfig plain, routed;
  plain.blocks.resize(shape.layers);
  routed.blocks.resize(shape.layers);
  for (std::int64_t layer = shape.dense_layers; layer < shape.layers; ++layer) {
    make_routed(routed.blocks[layer], shape.router);
    routed.blocks[layer].moe.shared_expert = shape.shared_width > 0;
  }
  return *stored_routing(routed, plain);
}

class Tensors {
 public:
  void add(std::string name, const at::Tensor& values) {
    if (!values.defined()) return;
    const at::Tensor kept = values.detach();
    out.push_back({.name = std::move(name),
                   .type = DType::kF32,
                   .shape = kept.sizes().vec(),
                   .produce = [kept](const ByteSink& sink) {
                     const at::Tensor whole = kept.contiguous();
                     sink({static_cast<const std::byte*>(whole.data_ptr()), whole.nbytes()});
                   }});
  }
  /// gate and up stand stacked along `dimension`.
  void add_gate_up(const std::string& prefix, const std::string& suffix, const at::Tensor& gate_up,
                   std::int64_t dimension) {
    if (!gate_up.defined()) return;
    const std::int64_t width = gate_up.size(dimension) / 2;
    add(prefix + "ffn_gate" + suffix, gate_up.narrow(dimension, 0, width));
    add(prefix + "ffn_up" + suffix, gate_up.narrow(dimension, width, width));
  }

  std::vector<TensorToWrite> out;
};

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
  if (shape.dense_layers < shape.layers) metadata.set("junto.router", routing_of(shape).dump());
  GgufTokenizerData stored = tokenizer;
  for (std::int64_t id = std::ssize(stored.tokens); id < shape.vocabulary; ++id) {  // rows without a token
    stored.types.resize(static_cast<std::size_t>(id), 1);
    stored.tokens.push_back("[PAD" + std::to_string(id) + "]");
    stored.types.push_back(5);
  }
  store_tokenizer(stored, metadata);

  Tensors tensors;
  tensors.add("token_embd.weight", model.embedding());
  for (std::int64_t layer = 0; layer < shape.layers; ++layer) {
    const LanguageModel::Block& b = model.blocks()[layer];
    const std::string prefix = "blk." + std::to_string(layer) + ".";
    tensors.add(prefix + "attn_norm.weight", b.attn_norm);
    tensors.add(prefix + "attn_q.weight", b.q);
    tensors.add(prefix + "attn_k.weight", b.k);
    tensors.add(prefix + "attn_v.weight", b.v);
    tensors.add(prefix + "attn_q_norm.weight", b.q_norm);
    tensors.add(prefix + "attn_k_norm.weight", b.k_norm);
    tensors.add(prefix + "attn_output.weight", b.output);
    tensors.add(prefix + "ffn_norm.weight", b.ffn_norm);
    const std::string kind = shape.routed(layer) ? "_shexp.weight" : ".weight";
    tensors.add_gate_up(prefix, kind, b.gate_up, 0);
    tensors.add(prefix + "ffn_down" + kind, b.down);
    tensors.add(prefix + "ffn_gate_inp.weight", b.router);
    tensors.add(prefix + "exp_probs_b.bias", b.selection_bias);
    tensors.add_gate_up(prefix, "_exps.weight", b.expert_gate_up, 1);
    tensors.add(prefix + "ffn_down_exps.weight", b.expert_down);
  }
  tensors.add("output_norm.weight", model.output_norm());
  if (!shape.tied_embeddings) tensors.add("output.weight", model.head());
  write_gguf(path, metadata, tensors.out);
}

}  // namespace junto
