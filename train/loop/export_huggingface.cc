#include "train/loop/export_huggingface.h"

#include <ATen/ATen.h>

#include <filesystem>
#include <utility>
#include <variant>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "format/safetensors.h"
#include "format/tokenizer/train_bpe.h"
#include "moe/json_fields.h"
#include "train/loop/model_tensors.h"

namespace junto {
namespace {

enum class Kind { kQwen3Moe, kQwen3, kMixtral, kLlama };

Kind kind_of(const LanguageModelShape& shape, const std::string& folder) {
  const auto refuse = [&](const std::string& what) {
    fail(folder, "not written: no architecture of transformers has " + what + "; model.gguf has it");
  };
  if (shape.norm != NormKind::kRms) refuse("layer norms and these routers");
  if (shape.norms != BlockNorms::kPre) refuse("norms on residual sums like these");
  if (!shape.routes()) return shape.qk_norm ? Kind::kQwen3 : Kind::kLlama;
  const RouterSpec& router = shape.router;
  const auto* top_k = std::get_if<TopK>(&router.select);
  if (top_k == nullptr || router.score != Score::kSoftmax || router.selection_bias || router.scale != 1.0f)
    refuse("a router of " + to_json(router).dump());
  if (shape.shared_width > 0) refuse("a shared expert without a gate");
  if (router.logits != LogitsKind::kLinear || router.logit_residual || router.entropy_override || router.prune ||
      router.weightless > 0 || router.logit_deviation > 0.0f)
    refuse("a router of " + to_json(router).dump());
  if (shape.free_experts() > 0 || shape.rounds.count > 1 || shape.router_back > 0 || shape.input_scale != 1.0f)
    refuse("free experts, rounds, routers that look back or scaled inputs");
  if (!(shape.activation == Activation())) refuse("experts other than SwiGLU");
  if (!(shape.residual == ResidualRule()) || shape.first_residual) refuse("another rule of the residual stream");
  const bool renormalised = router.weigh == Weigh::kRenormalised;
  if (!renormalised && router.weigh != Weigh::kRaw) refuse("a router of " + to_json(router).dump());
  if (shape.qk_norm) return Kind::kQwen3Moe;
  if (!renormalised) refuse("raw weights without norms of q and k");
  if (shape.routed_count() < shape.layers) refuse("dense layers and no norms of q and k");
  return Kind::kMixtral;
}

Json config_of(const LanguageModelShape& shape, Kind kind, std::int32_t end_of_text) {
  struct Names {
    const char *type, *architecture;
  };
  static constexpr Names kNames[] = {{"qwen3_moe", "Qwen3MoeForCausalLM"},
                                     {"qwen3", "Qwen3ForCausalLM"},
                                     {"mixtral", "MixtralForCausalLM"},
                                     {"llama", "LlamaForCausalLM"}};
  const Names& names = kNames[static_cast<int>(kind)];
  Json config = {
      {"architectures", {names.architecture}},
      {"model_type", names.type},
      {"vocab_size", shape.vocabulary},
      {"hidden_size", shape.hidden},
      {"num_hidden_layers", shape.layers},
      {"num_attention_heads", shape.heads},
      {"num_key_value_heads", shape.kv_heads},
      {"head_dim", shape.head_dim},
      {"intermediate_size", kind == Kind::kMixtral ? shape.expert_width : std::max<std::int64_t>(1, shape.dense_width)},
      {"max_position_embeddings", shape.context},
      {"rope_theta", json_number(shape.rope_theta)},
      {"rms_norm_eps", json_number(shape.norm_eps)},
      {"hidden_act", "silu"},
      {"attention_bias", false},
      {"tie_word_embeddings", shape.tied_embeddings},
      {"bos_token_id", end_of_text},
      {"eos_token_id", end_of_text},
      {"torch_dtype", "float32"}};
  const bool routed = kind == Kind::kQwen3Moe || kind == Kind::kMixtral;
  if (!routed) return config;
  const int k = std::get<TopK>(shape.router.select).k;
  config["num_experts_per_tok"] = k;
  config["output_router_logits"] = false;
  if (kind == Kind::kMixtral) {
    config["num_local_experts"] = shape.router.experts;
    config["sliding_window"] = nullptr;
    return config;
  }
  config["num_experts"] = shape.router.experts;
  config["moe_intermediate_size"] = shape.expert_width;
  config["norm_topk_prob"] = shape.router.weigh == Weigh::kRenormalised;
  config["decoder_sparse_step"] = 1;
  Json dense = Json::array();
  for (std::int64_t layer = 0; layer < shape.layers; ++layer) {
    if (!shape.routed(layer)) dense.push_back(layer);
  }
  config["mlp_only_layers"] = dense;
  return config;
}

struct ExportedTensors : ModelTensors {
  /// A feed-forward network: gate and up stand stacked, [2H, D].
  void add_network(const std::string& prefix, const at::Tensor& gate_up, const at::Tensor& down, bool mixtral) {
    const std::int64_t width = gate_up.size(0) / 2;
    add(prefix + (mixtral ? "w1.weight" : "gate_proj.weight"), gate_up.narrow(0, 0, width));
    add(prefix + (mixtral ? "w3.weight" : "up_proj.weight"), gate_up.narrow(0, width, width));
    add(prefix + (mixtral ? "w2.weight" : "down_proj.weight"), down);
  }
};

std::vector<TensorToWrite> tensors_of(const LanguageModel& model, Kind kind) {
  const bool mixtral = kind == Kind::kMixtral;
  ExportedTensors tensors;
  tensors.add("model.embed_tokens.weight", model.embedding());
  for (std::size_t layer = 0; layer < model.blocks().size(); ++layer) {
    const LanguageModel::Block& b = model.blocks()[layer];
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    tensors.add(prefix + "input_layernorm.weight", b.attn_norm);
    tensors.add(prefix + "self_attn.q_proj.weight", b.q);
    tensors.add(prefix + "self_attn.k_proj.weight", b.k);
    tensors.add(prefix + "self_attn.v_proj.weight", b.v);
    tensors.add(prefix + "self_attn.o_proj.weight", b.output);
    tensors.add(prefix + "self_attn.q_norm.weight", b.q_norm);
    tensors.add(prefix + "self_attn.k_norm.weight", b.k_norm);
    tensors.add(prefix + "post_attention_layernorm.weight", b.ffn_norm);
    if (b.gate_up.defined()) tensors.add_network(prefix + "mlp.", b.gate_up, b.down, false);
    if (b.routers.empty()) continue;
    const std::string moe = prefix + (mixtral ? "block_sparse_moe." : "mlp.");
    tensors.add(moe + "gate.weight", b.routers[0].logits);
    for (std::int64_t e = 0; e < b.routers[0].logits.size(0); ++e) {
      tensors.add_network(moe + "experts." + std::to_string(e) + ".", b.expert_gate_up[e], b.expert_down[e], mixtral);
    }
  }
  tensors.add("model.norm.weight", model.output_norm());
  if (!model.shape().tied_embeddings) tensors.add("lm_head.weight", model.head());
  return tensors.out;
}

/// The byte tokenizer as a tokenizer.json: ids 0..255 are the bytes, 256 begins and ends texts.
std::string byte_tokenizer_json(const GgufTokenizerData& bytes) {
  OrderedJson json =
      parse_ordered_json(text::tokenizer_json(text::train_bpe({}, {.vocabulary = kByteVocabulary})), "bytes");
  OrderedJson vocabulary = OrderedJson::object();
  for (std::size_t id = 0; id < bytes.tokens.size(); ++id) vocabulary[bytes.tokens[id]] = id;
  json["model"]["vocab"] = vocabulary;
  json["added_tokens"][0]["id"] = kByteVocabulary - 1;
  json["post_processor"]["special_tokens"]["<|endoftext|>"]["ids"][0] = kByteVocabulary - 1;
  return json.dump(1) + "\n";
}

void write_text(const std::string& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

}  // namespace

void export_huggingface(const LanguageModel& model, const TokenText& text, const std::string& folder) {
  const Kind kind = kind_of(model.shape(), folder);
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) fail(folder, "cannot be made: " + error.message());
  write_text(folder + "/tokenizer.json",
             text.tokenizer_json.empty() ? byte_tokenizer_json(text.tokenizer) : text.tokenizer_json);
  const std::string& end = text.tokenizer.tokens[static_cast<std::size_t>(text.end_of_text)];
  const Json tokenizer_config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                                 {"bos_token", end},
                                 {"eos_token", end},
                                 {"add_bos_token", true},
                                 {"clean_up_tokenization_spaces", false},
                                 {"model_max_length", model.shape().context}};
  write_text(folder + "/tokenizer_config.json", tokenizer_config.dump(2) + "\n");
  write_safetensors(folder + "/model.safetensors", tensors_of(model, kind), {{"format", "pt"}});
  write_text(folder + "/config.json", config_of(model.shape(), kind, text.end_of_text).dump(2) + "\n");
}

}  // namespace junto
