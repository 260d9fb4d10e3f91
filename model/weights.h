// The weights of a decoder, found, checked and ready for the kernels.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "format/checkpoint.h"
#include "model/adapter.h"
#include "model/architectures.h"
#include "model/config.h"
#include "model/router_weights.h"
#include "moe/expert_cache.h"
#include "moe/expert_store.h"
#include "moe/linear.h"

namespace junto {

/// Scale [D] and, for layer norms that have one, bias [D]. Empty: there is no norm here.
struct NormWeights {
  std::vector<float> scale;
  std::vector<float> bias;
  float eps = 0;
};

struct AttentionWeights {
  Linear q, k, v, output;
  Linear gate;                        // [heads * head_dim, D] where the output is gated
  std::vector<float> q_norm, k_norm;  // [head_dim] or [heads * head_dim]
  std::vector<float> sinks;           // [heads]
};

/// kv_b is kept as its two halves per head, so that attention runs on the compressed cache: q' = k_b^T q.
struct MlaWeights {
  Linear q;  // [heads * (nope + rope), D], where there is no compressed q
  Linear q_a, q_b;
  std::vector<float> q_a_norm;
  Linear kv_a;  // [kv_rank + rope, D]
  std::vector<float> kv_a_norm;
  std::vector<WeightMatrix> k_b;  // [heads], each [kv_rank, nope] F32
  std::vector<WeightMatrix> v_b;  // [heads], each [value_dim, kv_rank]
  Linear output;                  // [D, heads * value_dim]
};

struct ShortConvWeights {
  Linear in, out;               // [3 D, D], [D, D]
  std::vector<float> taps;      // [D, taps], the last one multiplies the present
  std::vector<float> tap_bias;  // [D] or empty
};

struct ExpertAttentionWeights {
  Linear k, v;
  RouterWeights router;
  std::vector<Linear> q;       // [E], each [heads per expert * head_dim, D]
  std::vector<Linear> output;  // [E], each [D, heads per expert * head_dim]
  std::vector<float> bias;     // [D] or empty
};

using MixerWeights = std::variant<AttentionWeights, MlaWeights, ShortConvWeights, ExpertAttentionWeights>;

struct BlockWeights {
  NormWeights mixer_norm, mixer_post_norm, ffn_norm, ffn_post_norm;
  NormWeights mixer_sum_norm, ffn_sum_norm, ffn_second_norm;  // of residual sums
  MixerWeights mixer;
  ExpertWeights dense;
  std::vector<RouterWeights> routers;  // one for each round that has its own; none in dense blocks
  ExpertWeights shared;
  Linear shared_gate;           // [1, D]
  std::vector<float> moe_bias;  // [D] or empty
};

/// A model that can run. Immutable but for the expert store's replacements, so that decoders share it.
struct Model {
  std::string path;
  ModelConfig config;
  Tensor token_embedding;  // [V, D]
  NormWeights output_norm;
  Linear output;  // [config.outputs(), D]
  std::vector<BlockWeights> blocks;
  std::unique_ptr<ExpertStore> experts;  // by block
  std::shared_ptr<const Model> paths;    // of Prefetch::kPath: what predicts the experts of a token
  std::unique_ptr<ExpertCache> cache;    // where experts are streamed: those of `experts` then lie in the file
  bool carries_logits = false;           // some router reads the logits of the routed layer below
  std::vector<bool> keeps_input;         // [blocks]: a router above reads what this block's experts read
  bool can_narrow = false;               // the last block may leave out rows whose logits nobody wants
  bool quantised = false;                // any weights in a block format
  std::uint64_t fingerprint = 0;         // of the configuration, names, types and shapes: what a saved sequence fits

  std::size_t total_bytes = 0;   // all stored tensors
  std::size_t routed_bytes = 0;  // all routed experts
  std::size_t block_bytes = 0;   // what every call reads of the blocks: all but routed experts, embedding and head
};

/// True where experts are read from the file as they are needed.
bool is_streaming(const Model& model);

struct LoadOptions {
  /// Threads that interleave weights for the fast kernels; null keeps all weights as they are mapped.
  ThreadPool* pool = nullptr;
  /// Bytes for experts that are streamed from the file (moe/expert_cache.h); 0: all experts are in memory or mapped.
  std::int64_t expert_memory = 0;
  /// With a pool and no expert_memory: experts are interleaved when they are first asked for, not on loading.
  bool lazy_experts = false;
  Evict evict = Evict::kLayer;
  /// For Evict::kStatic: how popular each expert of the routed layers is, layer by layer.
  std::vector<double> popularity = {};
  /// Streamed experts are held to their checksums at every read: packed files have them.
  bool verify_reads = false;
  ReadEngine read_engine = ReadEngine::kAuto;
  /// Streamed experts are read no faster than this, by threads; 0: as fast as the disk is.
  double disk_limit_bytes_per_s = 0;
  PrefetchRule prefetch = {};
  /// What Prefetch::kTable learns from beforehand, and what kOracle knows, which needs it.
  std::shared_ptr<const PastRoutes> past = {};
  /// For Prefetch::kPath, which needs it: load_path_predictor() (model/path_predictor.h).
  std::shared_ptr<const Model> paths = {};
  /// Low-rank updates of linear layers (model/adapter.h).
  std::vector<AdapterRequest> adapters = {};
  /// Tensors taken so far and in all.
  std::function<void(std::size_t done, std::size_t all)> progress;
};

/// Throws Error naming file and tensor on a missing tensor, a wrong shape, or one that no part of the model uses.
std::shared_ptr<Model> load_model(const Checkpoint& checkpoint, const LoadOptions& options = {});
std::shared_ptr<Model> load_model(const std::string& path, const LoadOptions& options = {});

}  // namespace junto
