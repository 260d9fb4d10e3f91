// A decoder language model under autograd: RMSNorm or LayerNorm before each sublayer or on residual sums, rotary
// positions, grouped-query attention, feed-forward networks, experts in any layers. What it computes, the engine
// computes from the file that export_gguf() writes.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <numeric>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "model/config.h"
#include "moe/router_spec.h"
#include "train/nn/linear_adapter.h"
#include "train/nn/moe_layer.h"
#include "train/nn/parameters.h"
#include "train/nn/residual.h"

namespace junto {

/// With what its routed layers are.
struct LanguageModelShape : MoeShape {
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
  std::int64_t dense_width = 0;   // of dense layers' networks
  std::optional<std::vector<std::int64_t>> routed_layers;  // those with experts, ascending; none: all after the first
  NormKind norm = NormKind::kRms;                          // of the residual stream; those of q and k are RMSNorm
  BlockNorms norms = BlockNorms::kPre;
  ResidualRule residual;                       // of routed layers
  std::optional<ResidualRule> first_residual;  // of the first of them, where it differs
  /// Not empty: the head says for each expert of each stage (E of each stands here) whether a token will ask for it, as
  /// a logit, instead of what token follows (model/path_predictor.h).
  std::vector<int> path_experts;
  int router_back = 0;                   // a router reads what the routed layer so many below reads, where there is one
  std::optional<AdapterShape> adapters;  // of linear layers in every block; of networks only where no layer has experts

  /// Rows of the head.
  std::int64_t outputs() const {
    return path_experts.empty() ? vocabulary
                                : std::accumulate(path_experts.begin(), path_experts.end(), std::int64_t{0});
  }
  bool routed(std::int64_t layer) const {
    return routed_layers ? std::binary_search(routed_layers->begin(), routed_layers->end(), layer)
                         : layer >= dense_layers;
  }
  std::int64_t routed_count() const { return routed_layers ? std::ssize(*routed_layers) : layers - dense_layers; }
  bool routes() const { return routed_count() > 0; }
  /// `layers` where none does.
  std::int64_t first_routed() const {
    if (!routed_layers) return dense_layers;
    return routed_layers->empty() ? layers : routed_layers->front();
  }
  bool adapters_route() const { return adapters && adapters->router; }
  /// Of Output::routings(), where adapters train.
  const RouterSpec& routing() const { return adapters_route() ? *adapters->router : router; }
  /// The sizes [N, K] of a linear layer of a block; kGate to kDown: of dense ones.
  std::pair<std::int64_t, std::int64_t> size_of(LinearLayer layer) const;
  const ResidualRule& residual_of(std::int64_t layer) const {
    return layer == first_routed() && first_residual ? *first_residual : residual;
  }
};

/// Throws Error naming the field where the model has no such layer, or not all of them could be adapted.
void check_adapters(const AdapterShape& adapters, const LanguageModelShape& model, std::string_view where);

/// Throws Error naming the field, what is there and what is allowed.
LanguageModelShape parse_language_model_shape(const Json& json, std::string_view where);

class LanguageModel {
 public:
  /// `share`: the experts that this rank holds of all routed layers; null: all of them, and there is one process.
  /// Values are those of one process.
  LanguageModel(LanguageModelShape shape, std::uint64_t seed, std::shared_ptr<const ExpertShare> share = nullptr);
  LanguageModel(const LanguageModel&) = delete;  // parameters point into it
  LanguageModel& operator=(const LanguageModel&) = delete;

  struct Output {
    at::Tensor logits;                 // [sequences * length, shape.outputs()]
    std::vector<RoutedUnits> routed;   // of each routing: routed layers in order, each with its rounds
    std::vector<RoutedUnits> adapted;  // of each routed adapter: blocks in order, each with its layers in theirs

    /// Those that train: the adapters' where these route.
    const std::vector<RoutedUnits>& routings() const { return adapted.empty() ? routed : adapted; }
  };
  /// Whether a block's activations are kept for backward, or its input alone, and backward computes them again.
  /// Gradients are the same, to the bit.
  enum class Activations : std::uint8_t { kKept, kRecomputed };
  /// tokens [sequences, length], int64. As the finished model computes; with `draws` as it does in training: with the
  /// noise, capacity and rules that training has, drawn from there. Where activations are recomputed, the model must
  /// not change before backward. `experts` takes the time of feed-forward networks, forward and backward: of experts,
  /// shared experts and dense layers, routers left out.
  Output forward(const at::Tensor& tokens, const DrawPlace* draws = nullptr,
                 Activations activations = Activations::kKept, StageClock* experts = nullptr) const;

  /// With the parameters of its experts. A dense layer has no routers, and `gate_up` [2F, D] or [F, D] and `down` [D,
  /// F] are those of its only network.
  struct Block : MoeParameters {
    at::Tensor attn_norm, q, k, v, output, q_norm, k_norm, ffn_norm;
    at::Tensor attn_sum_norm, ffn_sum_norm,
        ffn_second_norm;  // of residual sums, in the place of attn_norm and ffn_norm
    /// Of the norms above, where they are layer norms.
    at::Tensor attn_norm_bias, ffn_norm_bias, attn_sum_norm_bias, ffn_sum_norm_bias, ffn_second_norm_bias;
    std::array<LinearAdapter, kLinearLayers> adapters;
  };

  /// Where their plans stand in Output::routed.
  std::vector<RouterPlace> routers() const;

  /// Whether adapters are computed from now on; at first they are.
  void use_adapters(bool use) { adapters_used_ = use; }

  /// Other rules of routing from now on, for schedules: experts and matrices stay what they are.
  void set_routing(const RouterSpec& router, const RouterTraining& training);

  const LanguageModelShape& shape() const { return shape_; }
  const std::shared_ptr<const ExpertShare>& share() const { return share_; }
  /// Whether some experts are on other ranks. forward() and backward are then called by all of them.
  bool parted() const { return share_ != nullptr && share_->parted(); }
  Parameters& parameters() { return parameters_; }
  const Parameters& parameters() const { return parameters_; }
  std::vector<Block>& blocks() { return blocks_; }
  const std::vector<Block>& blocks() const { return blocks_; }
  const at::Tensor& embedding() const { return embedding_; }
  const at::Tensor& output_norm() const { return output_norm_; }
  /// Undefined where norms have none.
  const at::Tensor& output_norm_bias() const { return output_norm_bias_; }
  const at::Tensor& head() const { return shape_.tied_embeddings ? embedding_ : head_; }

 private:
  struct Stream;
  void run_block(std::int64_t layer, std::int64_t sequences, std::int64_t length, Stream& stream) const;
  /// The same, with nothing kept for backward but what it was given.
  void run_block_twice(std::int64_t layer, std::int64_t sequences, std::int64_t length, Stream& stream) const;
  /// By `weight`, or x itself where it is undefined: a block has no norm there.
  at::Tensor normed(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) const;
  at::Tensor attention(const Block& block, const at::Tensor& x, std::int64_t sequences, std::int64_t length,
                       std::vector<RoutedUnits>& adapted) const;
  bool adapts(LinearLayer layer) const { return shape_.adapters && adapters_used_ && shape_.adapters->has(layer); }
  /// What the adapter of that layer adds for its input.
  at::Tensor update_of(const Block& block, LinearLayer layer, const at::Tensor& x,
                       std::vector<RoutedUnits>& adapted) const;
  at::Tensor dense_network(const Block& block, const at::Tensor& x, std::vector<RoutedUnits>& adapted) const;

  LanguageModelShape shape_;
  std::shared_ptr<const ExpertShare> share_;
  MoeRouters routers_;
  CompiledRouter adapter_router_;
  bool adapters_used_ = true;
  at::Tensor embedding_, output_norm_, output_norm_bias_, head_;
  std::vector<Block> blocks_;
  Parameters parameters_;
  at::Tensor cosine_, sine_;  // [context, head_dim / 2]
};

}  // namespace junto
