// For tests: a small predictor of paths with random weights, as junto train writes them.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "format/gguf.h"
#include "model/stored_paths.h"

namespace junto {

/// One block, hidden size 8, that context; a predictor of `experts` for texts of `vocabulary` tokens.
inline void write_path_predictor(const std::string& path, const std::vector<int>& experts, std::int64_t vocabulary,
                                 int context = 6) {
  constexpr std::int64_t kHidden = 8, kWidth = 16;
  const Json config = {{"architectures", {"LlamaForCausalLM"}},
                       {"model_type", "llama"},
                       {"vocab_size", vocabulary},
                       {"hidden_size", kHidden},
                       {"num_hidden_layers", 1},
                       {"num_attention_heads", 2},
                       {"intermediate_size", kWidth},
                       {"max_position_embeddings", context},
                       {"rms_norm_eps", 1e-5},
                       {"hidden_act", "silu"},
                       {"tie_word_embeddings", false}};
  Metadata metadata;
  metadata.set("general.architecture", std::string("junto"));
  metadata.set("junto.base_architecture", std::string("LlamaForCausalLM"));
  metadata.set("junto.config", config.dump());
  metadata.set(kStoredPathsKey, stored_paths(experts).dump());
  std::int64_t outputs = 0;
  for (const int count : experts) outputs += count;
  std::mt19937 random(5);
  std::vector<TensorToWrite> tensors;
  const auto add = [&](const std::string& name, Shape shape) {
    std::vector<float> values(1);
    std::size_t count = 1;
    for (const std::int64_t size : shape) count *= static_cast<std::size_t>(size);
    values.resize(count);
    for (float& value : values) value = static_cast<float>(random() % 2001) / 1000.0f - 1.0f;
    tensors.push_back(
        {.name = name, .type = DType::kF32, .shape = std::move(shape), .produce = [values](const ByteSink& sink) {
           sink({reinterpret_cast<const std::byte*>(values.data()), values.size() * sizeof(float)});
         }});
  };
  add("token_embd.weight", {vocabulary, kHidden});
  for (const char* name : {"attn_q", "attn_k", "attn_v", "attn_output"}) {
    add("blk.0." + std::string(name) + ".weight", {kHidden, kHidden});
  }
  add("blk.0.attn_norm.weight", {kHidden});
  add("blk.0.ffn_norm.weight", {kHidden});
  add("blk.0.ffn_gate.weight", {kWidth, kHidden});
  add("blk.0.ffn_up.weight", {kWidth, kHidden});
  add("blk.0.ffn_down.weight", {kHidden, kWidth});
  add("output_norm.weight", {kHidden});
  add("output.weight", {outputs, kHidden});
  write_gguf(path, metadata, tensors);
}

}  // namespace junto
