// For tests: a small Hugging Face directory of Dynamic MoE with random weights.
#pragma once

#include "model/test_written_model.h"

namespace junto {

inline Json dynamic_moe_config(const Json& changes) {
  Json config = small_llama_config("MoEForCausalLM");
  // The released code reads neither a base of rotation nor fewer heads of keys.
  config.merge_patch({{"model_type", "llama"}, {"rope_theta", 500.0}, {"num_key_value_heads", 2}, {"num_experts", 6}});
  config.merge_patch(changes);
  return config;
}

/// Writes config.json and model.safetensors of that configuration; six experts.
inline WrittenModel write_dynamic_moe(const TestDirectory& directory, const Json& changes = Json::object()) {
  ModelWriter writer(dynamic_moe_config(changes));
  writer.embedding_and_head();
  for (int layer = 0; layer < 3; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    writer.norm(prefix + "input_norm.weight");
    writer.norm(prefix + "post_attention_norm.weight");
    writer.attention(prefix + "self_attn.", 1);
    if (layer % writer.config().value("expert_frequency", 2) != 0) {
      writer.swiglu(prefix + "mlp.mlp.");
      continue;
    }
    writer.matrix(prefix + "mlp.router.weight", 6, 32, 2.0f);
    for (int e = 0; e < 6; ++e) writer.swiglu(prefix + "mlp.experts." + std::to_string(e) + ".");
  }
  return std::move(writer).write(directory);
}

}  // namespace junto
