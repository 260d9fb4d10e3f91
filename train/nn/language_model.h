// A decoder language model under autograd: RMSNorm before each sublayer, rotary positions, grouped-query attention,
// SwiGLU, experts in any layers. What it computes, the engine computes from the file that export_gguf() writes.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "moe/router_spec.h"
#include "train/nn/parameters.h"
#include "train/nn/route.h"

namespace junto {

struct LanguageModelShape {
  std::int64_t vocabulary = 257;  // V
  std::int64_t hidden = 128;      // D
  std::int64_t layers = 4;
  std::int64_t heads = 4;
  std::int64_t kv_heads = 2;
  std::int64_t head_dim = 32;
  std::int64_t context = 256;
  float rope_theta = 10000.0f;
  float norm_eps = 1e-5f;
  bool qk_norm = true;  // RMSNorm of q and k per head, before rotation (Qwen3)
  bool tied_embeddings = true;
  std::int64_t dense_layers = 0;  // the first layers have no experts but one feed-forward network
  std::int64_t dense_width = 0;   // of theirs
  std::int64_t expert_width = 0;  // of each expert; 0 where all layers are dense
  std::int64_t shared_width = 0;  // of an expert that all tokens go through; 0: none
  RouterSpec router;

  bool routed(std::int64_t layer) const { return layer >= dense_layers; }
};

/// Throws Error naming the field, what is there and what is allowed.
LanguageModelShape parse_language_model_shape(const Json& json, std::string_view where);

class LanguageModel {
 public:
  LanguageModel(LanguageModelShape shape, std::uint64_t seed);
  LanguageModel(const LanguageModel&) = delete;  // parameters point into it
  LanguageModel& operator=(const LanguageModel&) = delete;

  struct Output {
    at::Tensor logits;                // [sequences * length, V]
    std::vector<RoutedUnits> routed;  // of each routed layer
  };
  /// tokens [sequences, length], int64.
  Output forward(const at::Tensor& tokens) const;

  struct Block {
    at::Tensor attn_norm, q, k, v, output, q_norm, k_norm, ffn_norm;
    at::Tensor gate_up, down;                // [2F, D], [D, F]: the layer's only network, or the shared expert
    at::Tensor router;                       // [E, D]
    at::Tensor expert_gate_up, expert_down;  // [E, 2H, D], [E, D, H]
    at::Tensor selection_bias;               // [E], no parameter: loss-free balancing moves it
    std::shared_ptr<ExpertGradients> gradients;
  };

  const LanguageModelShape& shape() const { return shape_; }
  Parameters& parameters() { return parameters_; }
  const Parameters& parameters() const { return parameters_; }
  std::vector<Block>& blocks() { return blocks_; }
  const std::vector<Block>& blocks() const { return blocks_; }
  const at::Tensor& embedding() const { return embedding_; }
  const at::Tensor& output_norm() const { return output_norm_; }
  const at::Tensor& head() const { return shape_.tied_embeddings ? embedding_ : head_; }

 private:
  at::Tensor attention(const Block& block, const at::Tensor& x, std::int64_t sequences, std::int64_t length) const;
  at::Tensor feed_forward(const Block& block, const at::Tensor& x, std::vector<RoutedUnits>& routed) const;

  LanguageModelShape shape_;
  CompiledRouter router_;
  at::Tensor embedding_, output_norm_, head_;
  std::vector<Block> blocks_;
  Parameters parameters_;
  at::Tensor cosine_, sine_;  // [context, head_dim / 2]
};

}  // namespace junto
