// For tests: a small Hugging Face directory of MoE++ with random weights, named as its authors' code names them.
#pragma once

#include <cmath>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "format/safetensors.h"
#include "format/test_directory.h"

namespace junto {

struct MoePlusPlusModel {
  Json config;
  std::map<std::string, std::vector<float>> weights;  // row-major

  const std::vector<float>& at(const std::string& name) const { return weights.at(name); }
};

inline Json moe_plus_plus_config(const Json& changes) {
  Json config = {{"architectures", Json::array({"MoeForCausalLM"})},
                 {"model_type", "MoE++"},
                 {"vocab_size", 384},
                 {"hidden_size", 32},
                 {"intermediate_size", 24},
                 {"num_hidden_layers", 3},
                 {"num_attention_heads", 4},
                 {"num_key_value_heads", 2},
                 {"hidden_act", "silu"},
                 {"max_position_embeddings", 64},
                 {"rms_norm_eps", 1e-6},
                 {"rope_theta", 10000.0},
                 {"rope_scaling", nullptr},
                 {"tie_word_embeddings", false},
                 {"bos_token_id", 1},
                 {"eos_token_id", 2},
                 {"num_experts", Json::array({9})},
                 {"moe_expert_interval", 1},
                 {"moe_use_mixtral_gating", false},
                 {"moe_2layer_gate", true},
                 {"moe_use_logits_norm", false},
                 {"moe_gate_norm_std", 1.0},
                 {"moe_feature_no_mul_topk", false}};
  config.merge_patch(changes);
  return config;
}

/// Writes config.json and model.safetensors of that configuration; nine experts, five of them with weights.
inline MoePlusPlusModel write_moe_plus_plus(const TestDirectory& directory, const Json& changes = Json::object()) {
  MoePlusPlusModel model{.config = moe_plus_plus_config(changes), .weights = {}};
  constexpr std::int64_t kHidden = 32, kWidth = 24, kVocabulary = 384, kExperts = 9, kWithWeights = 5, kConstants = 2;
  std::mt19937 random(11);
  std::vector<TensorToWrite> tensors;
  const auto add = [&](const std::string& name, Shape shape, float center, float spread) {
    std::size_t count = 1;
    for (const std::int64_t size : shape) count *= static_cast<std::size_t>(size);
    std::vector<float>& values = model.weights[name];
    for (std::size_t i = 0; i < count; ++i)
      values.push_back(center + spread * (static_cast<float>(random() % 20001) / 10000.0f - 1.0f));
    tensors.push_back(
        {.name = name, .type = DType::kF32, .shape = std::move(shape), .produce = [values](const ByteSink& sink) {
           sink({reinterpret_cast<const std::byte*>(values.data()), values.size() * sizeof(float)});
         }});
  };
  const auto matrix = [&](const std::string& name, std::int64_t rows, std::int64_t cols, float gain = 1.2f) {
    add(name, {rows, cols}, 0.0f, gain / std::sqrt(static_cast<float>(cols)));
  };
  matrix("model.embed_tokens.weight", kVocabulary, kHidden, 6.0f);
  add("model.norm.weight", {kHidden}, 1.0f, 0.2f);
  matrix("lm_head.weight", kVocabulary, kHidden);
  for (int layer = 0; layer < 3; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    add(prefix + "input_layernorm.weight", {kHidden}, 1.0f, 0.2f);
    add(prefix + "post_attention_layernorm.weight", {kHidden}, 1.0f, 0.2f);
    matrix(prefix + "self_attn.q_proj.weight", kHidden, kHidden);
    matrix(prefix + "self_attn.k_proj.weight", kHidden / 2, kHidden);
    matrix(prefix + "self_attn.v_proj.weight", kHidden / 2, kHidden);
    matrix(prefix + "self_attn.o_proj.weight", kHidden, kHidden);
    if ((layer + 1) % model.config["moe_expert_interval"].get<int>() != 0) {
      matrix(prefix + "mlp.gate_proj.weight", kWidth, kHidden);
      matrix(prefix + "mlp.up_proj.weight", kWidth, kHidden);
      matrix(prefix + "mlp.down_proj.weight", kHidden, kWidth);
      continue;
    }
    const std::string gate = prefix + "mlp.moe.gate.", experts = prefix + "mlp.moe.experts.experts.";
    if (model.config["moe_2layer_gate"].get<bool>()) {
      matrix(gate + "wg.0.weight", 8 * kExperts, kHidden, 2.0f);
      matrix(gate + "wg.2.weight", kExperts, 8 * kExperts, 4.0f);
    } else {
      matrix(gate + "wg.weight", kExperts, kHidden, 4.0f);
    }
    matrix(gate + "gate_map.weight", kExperts, kExperts);
    for (int e = 0; e < kWithWeights; ++e) {
      matrix(experts + std::to_string(e) + ".up_proj.weight", 2 * kWidth, kHidden);
      matrix(experts + std::to_string(e) + ".down_proj.weight", kHidden, kWidth);
    }
    for (int e = kWithWeights; e < kWithWeights + kConstants; ++e) {
      add(experts + std::to_string(e) + ".constant", {kHidden}, 0.0f, 1.7f);
      matrix(experts + std::to_string(e) + ".wg.weight", 2, kHidden);
    }
  }
  directory.put("config.json", model.config.dump());
  write_safetensors(directory.path("model.safetensors"), tensors, {});
  return model;
}

}  // namespace junto
