// For tests: a small Hugging Face directory of MoE++ with random weights.
#pragma once

#include "model/test_written_model.h"

namespace junto {

inline Json moe_plus_plus_config(const Json& changes) {
  Json config = small_llama_config("MoeForCausalLM");
  config.merge_patch({{"model_type", "MoE++"},
                      {"num_key_value_heads", 2},
                      {"rope_theta", 10000.0},
                      {"num_experts", Json::array({9})},
                      {"moe_expert_interval", 1},
                      {"moe_use_mixtral_gating", false},
                      {"moe_2layer_gate", true},
                      {"moe_use_logits_norm", false},
                      {"moe_gate_norm_std", 1.0},
                      {"moe_feature_no_mul_topk", false}});
  config.merge_patch(changes);
  return config;
}

/// Writes config.json and model.safetensors of that configuration; nine experts, five of them with weights.
inline WrittenModel write_moe_plus_plus(const TestDirectory& directory, const Json& changes = Json::object()) {
  ModelWriter writer(moe_plus_plus_config(changes));
  constexpr std::int64_t kHidden = 32, kWidth = 24, kExperts = 9, kWithWeights = 5, kConstants = 2;
  writer.embedding_and_head();
  for (int layer = 0; layer < 3; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    writer.norm(prefix + "input_layernorm.weight");
    writer.norm(prefix + "post_attention_layernorm.weight");
    writer.attention(prefix + "self_attn.", 2);
    if ((layer + 1) % writer.config()["moe_expert_interval"].get<int>() != 0) {
      writer.swiglu(prefix + "mlp.");
      continue;
    }
    const std::string gate = prefix + "mlp.moe.gate.", experts = prefix + "mlp.moe.experts.experts.";
    if (writer.config()["moe_2layer_gate"].get<bool>()) {
      writer.matrix(gate + "wg.0.weight", 8 * kExperts, kHidden, 2.0f);
      writer.matrix(gate + "wg.2.weight", kExperts, 8 * kExperts, 4.0f);
    } else {
      writer.matrix(gate + "wg.weight", kExperts, kHidden, 4.0f);
    }
    writer.matrix(gate + "gate_map.weight", kExperts, kExperts);
    for (int e = 0; e < kWithWeights; ++e) {
      writer.matrix(experts + std::to_string(e) + ".up_proj.weight", 2 * kWidth, kHidden);
      writer.matrix(experts + std::to_string(e) + ".down_proj.weight", kHidden, kWidth);
    }
    for (int e = kWithWeights; e < kWithWeights + kConstants; ++e) {
      writer.add(experts + std::to_string(e) + ".constant", {kHidden}, 0.0f, 1.7f);
      writer.matrix(experts + std::to_string(e) + ".wg.weight", 2, kHidden);
    }
  }
  return std::move(writer).write(directory);
}

}  // namespace junto
