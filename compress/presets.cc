#include "compress/presets.h"

#include <algorithm>
#include <string>
#include <vector>

#include "base/error.h"

namespace junto {
namespace {

// From the config.json of allenai/OLMoE-1B-7B-0924, mistralai/Mixtral-8x7B-v0.1, Qwen/Qwen3-30B-A3B and
// deepseek-ai/DeepSeek-V2-Lite. `tiny` has every part of a mixture, in rows that fit the blocks of every type.
constexpr Preset kPresets[] = {
    {"olmoe-1b-7b", "16 layers, 8 of 64 experts, 6.9 billion weights", R"({
      "architectures": ["OlmoeForCausalLM"], "hidden_size": 2048, "intermediate_size": 1024, "num_hidden_layers": 16,
      "num_attention_heads": 16, "num_key_value_heads": 16, "num_experts": 64, "num_experts_per_tok": 8,
      "norm_topk_prob": false, "vocab_size": 50304, "max_position_embeddings": 4096, "rope_theta": 10000.0,
      "rms_norm_eps": 1e-05, "hidden_act": "silu", "tie_word_embeddings": false})"},
    {"olmoe-1b-7b-qwen3", "the same shape as a Qwen3 mixture, for engines without OLMoE", R"({
      "architectures": ["Qwen3MoeForCausalLM"], "hidden_size": 2048, "intermediate_size": 1024,
      "moe_intermediate_size": 1024, "num_hidden_layers": 16, "num_attention_heads": 16, "num_key_value_heads": 16,
      "head_dim": 128, "num_experts": 64, "num_experts_per_tok": 8, "norm_topk_prob": true, "decoder_sparse_step": 1,
      "mlp_only_layers": [], "vocab_size": 50304, "max_position_embeddings": 4096, "rope_theta": 10000.0,
      "rms_norm_eps": 1e-05, "hidden_act": "silu", "tie_word_embeddings": false})"},
    {"mixtral-8x7b", "32 layers, 2 of 8 experts, 46.7 billion weights", R"({
      "architectures": ["MixtralForCausalLM"], "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
      "num_attention_heads": 32, "num_key_value_heads": 8, "num_local_experts": 8, "num_experts_per_tok": 2,
      "vocab_size": 32000, "max_position_embeddings": 32768, "rope_theta": 1000000.0, "rms_norm_eps": 1e-05,
      "hidden_act": "silu", "tie_word_embeddings": false})"},
    {"qwen3-30b-a3b", "48 layers, 8 of 128 experts, 30.5 billion weights", R"({
      "architectures": ["Qwen3MoeForCausalLM"], "hidden_size": 2048, "intermediate_size": 6144,
      "moe_intermediate_size": 768, "num_hidden_layers": 48, "num_attention_heads": 32, "num_key_value_heads": 4,
      "head_dim": 128, "num_experts": 128, "num_experts_per_tok": 8, "norm_topk_prob": true, "decoder_sparse_step": 1,
      "mlp_only_layers": [], "vocab_size": 151936, "max_position_embeddings": 40960, "rope_theta": 1000000.0,
      "rms_norm_eps": 1e-06, "hidden_act": "silu", "tie_word_embeddings": false})"},
    {"deepseek-v2-lite", "27 layers, latent attention, 6 of 64 experts and 2 shared, 15.7 billion weights", R"({
      "architectures": ["DeepseekV2ForCausalLM"], "hidden_size": 2048, "intermediate_size": 10944,
      "moe_intermediate_size": 1408, "num_hidden_layers": 27, "num_attention_heads": 16, "num_key_value_heads": 16,
      "q_lora_rank": null, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
      "n_routed_experts": 64, "n_shared_experts": 2, "num_experts_per_tok": 6, "first_k_dense_replace": 1,
      "moe_layer_freq": 1, "n_group": 1, "topk_group": 1, "topk_method": "greedy", "scoring_func": "softmax",
      "norm_topk_prob": false, "routed_scaling_factor": 1.0, "vocab_size": 102400, "max_position_embeddings": 163840,
      "rope_theta": 10000.0, "rms_norm_eps": 1e-06, "hidden_act": "silu", "tie_word_embeddings": false,
      "rope_scaling": {"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096, "beta_fast": 32,
                       "beta_slow": 1, "mscale": 0.707, "mscale_all_dim": 0.707}})"},
    {"tiny", "4 layers, 2 of 8 experts, 8 million weights", R"({
      "architectures": ["Qwen3MoeForCausalLM"], "hidden_size": 256, "intermediate_size": 512,
      "moe_intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
      "head_dim": 64, "num_experts": 8, "num_experts_per_tok": 2, "norm_topk_prob": true, "decoder_sparse_step": 1,
      "mlp_only_layers": [], "vocab_size": 1024, "max_position_embeddings": 4096, "rope_theta": 10000.0,
      "rms_norm_eps": 1e-06, "hidden_act": "silu", "tie_word_embeddings": false})"},
};

constexpr const char* kExpertKeys[] = {"num_experts", "num_local_experts", "n_routed_experts"};

int experts_in(const Json& config) {
  for (const char* key : kExpertKeys) {
    if (config.contains(key)) return config[key].get<int>();
  }
  return 0;
}

const Preset& find_preset(std::string_view name) {
  std::vector<std::string_view> names;
  std::string list;
  for (const Preset& preset : kPresets) {
    if (preset.name == name) return preset;
    names.push_back(preset.name);
    list += (list.empty() ? "" : ", ") + std::string(preset.name);
  }
  const std::string_view near = nearest(name, names);
  fail("--preset", "is " + printable(name) + ", expected one of " + list +
                       (near.empty() ? "" : "; did you mean " + std::string(near) + "?"));
}

}  // namespace

std::span<const Preset> presets() {
  return kPresets;
}

Json preset_config(std::string_view name, const ShapeChanges& changes) {
  const Preset& preset = find_preset(name);
  Json config = parse_json(preset.config, preset.name);
  const auto [layers, experts, width, top_k] = changes;
  if (top_k != 0) {
    if (top_k < 1 || top_k > 255) fail("--top-k", "is " + std::to_string(top_k) + ", expected 1..255");
    config["num_experts_per_tok"] = top_k;
  }
  if (width != 0) {
    if (width < 32 || width % 32 != 0) {
      fail("--width", "is " + std::to_string(width) + ", expected a multiple of 32, the weights of a block");
    }
    config[config.contains("moe_intermediate_size") ? "moe_intermediate_size" : "intermediate_size"] = width;
  }
  if (layers != 0) {
    if (layers < 1 || layers > 4096) fail("--layers", "is " + std::to_string(layers) + ", expected 1..4096");
    config["num_hidden_layers"] = layers;
  }
  if (experts != 0 || top_k != 0) {
    const int chosen = config["num_experts_per_tok"].get<int>();
    const int given = experts != 0 ? experts : experts_in(config);
    if (given < chosen || given > 65536) {
      fail("--experts", "is " + std::to_string(given) + ", expected " + std::to_string(chosen) +
                            " (chosen for each token) to 65536");
    }
    for (const char* key : kExpertKeys) {
      if (config.contains(key)) config[key] = given;
    }
  }
  return config;
}

}  // namespace junto
