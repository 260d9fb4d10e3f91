#include "model/architectures/common.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <utility>

#include "base/error.h"

namespace junto {
namespace {

constexpr std::int64_t kMaxContext = std::int64_t{1} << 40;

std::int64_t vocabulary(const ConfigReader& r) {
  if (!r.gguf()) return r.integer({"vocab_size", nullptr}, 1, kMaxSize);
  const Tensor* embedding = r.checkpoint().find("token_embd.weight");
  if (!embedding || embedding->shape.size() != 2)
    fail(r.file(), "tensor token_embd.weight [vocabulary, hidden] is missing");
  return embedding->shape[0];
}

// GGUF: one number, or one for each layer, 0 where the layer has no attention.
int kv_heads(const ConfigReader& r, int heads) {
  const Key key = {"num_key_value_heads", "attention.head_count_kv"};
  const std::vector<std::int64_t> listed =
      r.gguf() ? r.checkpoint().metadata.integers(r.name(key)) : std::vector<std::int64_t>();
  if (listed.size() < 2) return static_cast<int>(r.integer_or(key, heads, 1, heads));
  std::int64_t found = 0;
  for (const std::int64_t count : listed) {
    if (count < 0 || count > heads) r.refuse(key, std::to_string(count), "0.." + std::to_string(heads));
    if (count != 0 && found != 0 && count != found) {
      r.refuse(key, std::to_string(found) + " and " + std::to_string(count), "the same number in all attention layers");
    }
    found = std::max(found, count);
  }
  if (found == 0) r.refuse(key, "0 in all layers", "a layer with attention");
  return static_cast<int>(found);
}

}  // namespace

std::int64_t layer_count(const ConfigReader& r) {
  return r.integer({"num_hidden_layers", "block_count"}, 1, kMaxLayers);
}

ModelConfig declare_sizes(const ConfigReader& r) {
  ModelConfig m;
  m.vocab_size = vocabulary(r);
  m.hidden_size = r.integer({"hidden_size", "embedding_length"}, 1, kMaxSize);
  m.context_length = r.integer_or({"max_position_embeddings", "context_length"}, 2048, 1, kMaxContext);
  const double eps = r.number_or({"rms_norm_eps", "attention.layer_norm_rms_epsilon"}, 1e-6);
  if (!(eps >= 0 && eps < 1))
    r.refuse({"rms_norm_eps", "attention.layer_norm_rms_epsilon"}, std::to_string(eps), "0 <= eps < 1");
  m.norm_eps = m.output_norm_eps = static_cast<float>(eps);
  if (!r.gguf() && r.boolean_or({"junto_layer_norm", nullptr}, false)) m.norm = NormKind::kLayer;  // of our trainer
  m.tied_embeddings =
      r.gguf() ? r.checkpoint().find("output.weight") == nullptr
               : r.boolean_or({"tie_word_embeddings", nullptr}, r.checkpoint().find("lm_head.weight") == nullptr);
  return m;
}

AttentionSpec declare_attention(const ConfigReader& r, int default_head_dim) {
  AttentionSpec a;
  const std::int64_t hidden = r.integer({"hidden_size", "embedding_length"}, 1, kMaxSize);
  a.heads = static_cast<int>(r.integer({"num_attention_heads", "attention.head_count"}, 1, 65536));
  a.kv_heads = kv_heads(r, a.heads);
  if (a.heads % a.kv_heads != 0) {
    r.refuse({"num_key_value_heads", "attention.head_count_kv"}, std::to_string(a.kv_heads),
             "a divisor of the " + std::to_string(a.heads) + " heads");
  }
  const Key head_dim = {"head_dim", "attention.key_length"};
  const bool divided = r.gguf() || default_head_dim == 0 || r.is_null(head_dim);
  if (!r.has(head_dim) && divided && hidden % a.heads != 0)
    r.refuse({"num_attention_heads", "attention.head_count"}, std::to_string(a.heads), "a divisor of the hidden size");
  a.head_dim = static_cast<int>(r.integer_or(head_dim, divided ? hidden / a.heads : default_head_dim, 1, 65536));
  if (r.gguf() && r.integer_or({nullptr, "attention.value_length"}, a.head_dim, 1, 65536) != a.head_dim) {
    r.refuse({nullptr, "attention.value_length"},
             std::to_string(r.integer({nullptr, "attention.value_length"}, 1, 65536)),
             "attention.key_length (" + std::to_string(a.head_dim) + ")");
  }
  a.scale = 1.0f / std::sqrt(static_cast<float>(a.head_dim));
  return a;
}

Activation declare_activation(const ConfigReader& r, ActivationKind fallback, Key key) {
  static constexpr std::array<std::pair<std::string_view, ActivationKind>, 8> kNames = {{
      {"silu", ActivationKind::kSilu},
      {"swish", ActivationKind::kSilu},
      {"gelu", ActivationKind::kGeluErf},
      {"gelu_new", ActivationKind::kGeluTanh},
      {"gelu_pytorch_tanh", ActivationKind::kGeluTanh},
      {"gelu_tanh", ActivationKind::kGeluTanh},
      {"relu", ActivationKind::kRelu},
      {"relu2", ActivationKind::kReluSquared},
  }};
  Activation activation;
  activation.kind = fallback;
  if (!r.has(key)) return activation;
  const std::string name = r.text_or(key, "");
  for (const auto& [known, kind] : kNames) {
    if (name == known) {
      activation.kind = kind;
      return activation;
    }
  }
  r.refuse(key, name, "silu, gelu, gelu_pytorch_tanh, relu or relu2");
}

ModelConfig declare_decoder(const ConfigReader& r, const RopeRequest& request, int head_dim) {
  ModelConfig m = declare_sizes(r);
  AttentionSpec attention = declare_attention(r, head_dim);
  RopeRequest rope = request;
  if (rope.head_dim == 0) rope.head_dim = attention.head_dim;
  m.ropes.push_back(read_rope(r, rope));
  attention.rope = 0;
  BlockSpec block;
  block.mixer = attention;
  block.dense = true;
  block.ffn.activation = declare_activation(r);
  const std::int64_t layers = layer_count(r);
  for (std::int64_t l = 0; l < layers; ++l) {
    block.layer = static_cast<int>(l);
    m.blocks.push_back(block);
  }
  return m;
}

AttentionSpec& attention_of(BlockSpec& block) {
  return std::get<AttentionSpec>(block.mixer);
}

int expert_count(const ConfigReader& r, int low) {
  for (const char* name : {"num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"}) {
    if (r.has({name, "expert_count"})) return static_cast<int>(r.integer({name, "expert_count"}, low, kMaxExperts));
  }
  return static_cast<int>(r.integer({"num_experts", "expert_count"}, low, kMaxExperts));
}

int experts_per_token(const ConfigReader& r, int experts) {
  for (const char* name : {"num_experts_per_tok", "moe_topk", "moe_k", "moe_top_k"}) {
    if (r.has({name, "expert_used_count"})) return static_cast<int>(r.integer({name, "expert_used_count"}, 1, experts));
  }
  return static_cast<int>(r.integer({"num_experts_per_tok", "expert_used_count"}, 1, experts));
}

RopeStyle llama_rope_style(const ConfigReader& r) {
  return r.gguf() ? RopeStyle::kInterleaved : RopeStyle::kHalf;
}

namespace {

// GGUF: one value for each layer, or n: every n-th layer does not slide.
std::vector<bool> gguf_sliding_layers(const ConfigReader& r, std::size_t layers) {
  const Key key = {nullptr, "attention.sliding_window_pattern"};
  const std::string name = r.name(key);
  const Metadata& metadata = r.checkpoint().metadata;
  if (const auto* flags = std::get_if<std::vector<bool>>(metadata.find(name))) {
    if (flags->size() != layers)
      r.refuse(key, "a list of " + std::to_string(flags->size()), std::to_string(layers) + " layers");
    return *flags;
  }
  std::vector<bool> sliding;
  if (std::holds_alternative<std::vector<std::int32_t>>(*metadata.find(name)) ||
      std::holds_alternative<std::vector<std::uint32_t>>(*metadata.find(name))) {
    for (const std::int64_t value : r.integers_per_layer(key, static_cast<std::int64_t>(layers), 0, 1)) {
      sliding.push_back(value != 0);
    }
    return sliding;
  }
  const std::int64_t n = r.integer(key, 0, kMaxLayers);  // 0: all slide
  for (std::size_t l = 0; l < layers; ++l) sliding.push_back(n == 0 || (static_cast<std::int64_t>(l) + 1) % n != 0);
  return sliding;
}

}  // namespace

std::vector<bool> sliding_layers(const ConfigReader& r, std::size_t layers,
                                 bool (*fallback)(const ConfigReader&, std::size_t)) {
  if (r.has({nullptr, "attention.sliding_window_pattern"})) return gguf_sliding_layers(r, layers);
  const std::vector<std::string> types = r.texts({"layer_types", nullptr});
  if (!types.empty() && types.size() != layers) {
    r.refuse({"layer_types", nullptr}, "a list of " + std::to_string(types.size()), std::to_string(layers) + " layers");
  }
  std::vector<bool> sliding;
  for (std::size_t l = 0; l < layers; ++l) {
    if (types.empty()) {
      sliding.push_back(fallback(r, l));
    } else if (types[l] == "full_attention" || types[l] == "sliding_attention" || types[l] == "chunked_attention") {
      sliding.push_back(types[l] != "full_attention");
    } else {
      r.refuse({"layer_types", nullptr}, types[l], "full_attention, sliding_attention or chunked_attention");
    }
  }
  return sliding;
}

RouterSpec declare_softmax_router(const ConfigReader& r, bool renormalise) {
  RouterSpec router;
  router.experts = expert_count(r);
  router.select = TopK{experts_per_token(r, router.experts)};
  router.weigh = renormalise ? Weigh::kRenormalised : Weigh::kRaw;
  return router;
}

RouterSpec declare_logit_router(const ConfigReader& r) {
  RouterSpec router = declare_softmax_router(r, false);
  router.score = Score::kLogit;
  router.weigh = Weigh::kSoftmaxOfChosen;
  return router;
}

RouterSpec declare_sigmoid_router(const ConfigReader& r, bool renormalise, float scale) {
  RouterSpec router = declare_softmax_router(r, renormalise);
  router.score = Score::kSigmoid;
  router.selection_bias = true;
  router.renormalise_eps = 1e-20f;
  router.scale = scale;
  return router;
}

}  // namespace junto
