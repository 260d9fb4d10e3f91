// ModelConfig: what a decoder computes, as plain data. An architecture is a declaration that fills it; there is one
// forward pass (model/decoder.h) for all of them.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "moe/expert_kind.h"
#include "moe/residual.h"
#include "moe/rounds.h"
#include "moe/router_spec.h"

namespace junto {

enum class NormKind : std::uint8_t {
  kRms,
  kLayer,  // mean removed, with bias where the checkpoint has one
};

/// How q and k are paired for rotation: halves of the head (NeoX, Hugging Face), or neighbours (GPT-J, llama.cpp's
/// llama).
enum class RopeStyle : std::uint8_t { kHalf, kInterleaved };

/// Rotary position embedding. The frequencies already hold whatever scaling the checkpoint declares (model/rope.h).
struct Rope {
  RopeStyle style = RopeStyle::kHalf;
  int dims = 0;                          // rotated dimensions of a head, from its start; 0: no rotation
  std::vector<float> inverse_frequency;  // [dims / 2], radians per position
  float magnitude = 1.0f;                // multiplies cos and sin (YaRN, LongRoPE)
  // LongRoPE (arXiv 2402.13753) has a second set for texts beyond the original context.
  std::int64_t original_context = 0;
  std::vector<float> long_inverse_frequency;
  float long_magnitude = 1.0f;

  bool operator==(const Rope&) const = default;
};

enum class QkNorm : std::uint8_t {
  kNone,
  kPerHead,    // RMSNorm over head_dim, shared by the heads (Qwen3, Gemma 3)
  kFullWidth,  // RMSNorm over heads * head_dim (OLMoE, MiniMax-M2)
  kL2,         // x / rms(x) per head without weights, after rotation (Llama 4)
};

/// Multi-head attention with grouped keys and values.
struct AttentionSpec {
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  int rope = -1;       // index into ModelConfig::ropes; -1: no position embedding (NoPE)
  float scale = 0.0f;  // of q . k
  int window = 0;      // keys within the last `window` positions; 0: all
  int chunk = 0;       // keys of the same chunk of positions (Llama 4); 0: all
  QkNorm qk_norm = QkNorm::kNone;
  bool norm_after_rope = false;
  float clip_qkv = 0.0f;           // q, k, v clamped to [-clip, clip]; 0: not
  float softcap = 0.0f;            // cap * tanh(score / cap); 0: not
  bool sinks = false;              // a learned logit per head joins the softmax without a value (gpt-oss)
  bool output_gate = false;        // sigmoid(W h) multiplies the attention output before its projection (AFMoE)
  float temperature_floor = 0.0f;  // Llama 4, layers without rotation: q *= 1 + log1p(floor((p + 1) / floor)) * slope
  float temperature_slope = 0.0f;

  bool operator==(const AttentionSpec&) const = default;
};

/// Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434), computed on the compressed cache: a key is
/// [kv_rank + rope_dim] values, shared by all heads, and its first kv_rank values are the value.
struct MlaSpec {
  int heads = 0;
  int q_rank = 0;  // 0: q is projected directly
  int kv_rank = 0;
  int nope_dim = 0;
  int rope_dim = 0;
  int value_dim = 0;
  int rope = -1;
  float scale = 0.0f;
  float norm_eps = 1e-6f;          // of the norms of the compressed q and kv
  float q_multiplier = 1.0f;       // LongCat: multiplies the compressed q ...
  float latent_multiplier = 1.0f;  // ... and the compressed kv, after their norms

  bool operator==(const MlaSpec&) const = default;
};

/// Gated short convolution (LFM2): B, C, x = W_in h; y = C * conv(B * x); out = W_out y.
struct ShortConvSpec {
  int taps = 3;  // causal kernel length

  bool operator==(const ShortConvSpec&) const = default;
};

/// JetMoE: every chosen expert has its own query and output projection over shared keys and values.
struct ExpertAttentionSpec {
  AttentionSpec attention;  // heads = chosen experts * heads per expert
  RouterSpec router;

  bool operator==(const ExpertAttentionSpec&) const = default;
};

using MixerSpec = std::variant<AttentionSpec, MlaSpec, ShortConvSpec, ExpertAttentionSpec>;

/// A gated or plain feed-forward network; its width is that of its tensors.
struct FfnSpec {
  Activation activation;

  bool operator==(const FfnSpec&) const = default;
};

/// Mixture-of-experts feed-forward.
struct MoeSpec {
  RouterSpec router;
  Activation activation;
  std::vector<ExpertKind> kinds;                // [E]
  std::optional<Activation> shared_activation;  // of the shared expert; none: that of the routed ones
  bool shared_expert = false;                   // beside the routed ones, always on
  bool shared_gate = false;                     // sigmoid(w . h) multiplies the shared expert's output (Qwen2-MoE)
  bool output_bias = false;                     // JetMoE: a bias added to the combined output
  Rounds rounds;                                // of routing and computing within the layer
  ResidualRule residual;                        // how the output joins the residual stream
  float input_scale = 1.0f;  // of what routed experts read; routers and the shared expert read it unscaled (released
                             // code of MoE++)
  int router_back = 0;       // the router reads what the routed block so many routed blocks below reads, where there
                             // is one (Pre-gated MoE, Hwang et al., arXiv 2308.12066)
  int join_after = 0;        // 0: joins its own block; 1: the end of the next block (LongCat's shortcut)

  bool operator==(const MoeSpec&) const = default;
};

struct NormPlacement {
  bool pre = true;    // before the sublayer
  bool post = false;  // on its output, before the residual sum
  bool sum = false;   // on the residual sum: x = norm(x + f(x))
  bool again =
      false;  // of routed layers with `sum`: what the layer read joins once more, x = norm2(x + norm(x + f(x)))

  bool operator==(const NormPlacement&) const = default;
};

/// Where all norms of a block stand: before its sublayers; on residual sums (Vaswani et al., arXiv 1706.03762), with no
/// norm before; the same with a second sum and norm where experts are (released code of MomentumSMoE, arXiv
/// 2410.14574).
enum class BlockNorms : std::uint8_t { kPre, kPost, kPostTwice };
inline constexpr std::array<std::string_view, 3> kBlockNormNames = {"pre", "post", "post_twice"};

/// One block: mixer, then a dense feed-forward or experts (or both on the same input, LongCat).
struct BlockSpec {
  int layer = 0;  // the published layer number; differs from the block's where a layer holds two blocks (LongCat)
  MixerSpec mixer;
  bool dense = false;
  FfnSpec ffn;
  bool routed = false;
  MoeSpec moe;
  NormPlacement mixer_norm;
  NormPlacement ffn_norm;

  bool operator==(const BlockSpec&) const = default;
};

struct ModelConfig {
  std::string architecture;  // GGUF name: "olmoe"
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t context_length = 0;
  NormKind norm = NormKind::kRms;
  float norm_eps = 1e-5f;
  float output_norm_eps = 1e-5f;  // of the last norm
  bool norm_plus_one = false;     // weights are stored as w, applied as 1 + w (Gemma, Hugging Face form)
  float embedding_multiplier = 1.0f;
  float residual_multiplier = 1.0f;
  float logit_multiplier = 1.0f;  // logits are multiplied by it (Granite: 1 / logits_scaling)
  float logit_softcap = 0.0f;
  bool tied_embeddings = false;
  std::vector<Rope> ropes;
  std::vector<BlockSpec> blocks;
  /// Of a routing path predictor (model/path_predictor.h): E of each stage of the model that it predicts, one output
  /// for each of their experts. Empty: outputs are logits over the vocabulary.
  std::vector<int> path_experts;

  /// Rows of the head.
  std::int64_t outputs() const;

  bool operator==(const ModelConfig&) const = default;
};

/// Of a block that is routed already, where it is to be.
void set_norms(BlockSpec& block, BlockNorms norms);

/// Makes a dense block routed by `router`: feed-forward experts with the block's own activation.
void make_routed(BlockSpec& block, const RouterSpec& router);

/// The block whose experts' input the router of `block` reads: itself, or one below.
std::size_t router_source(const ModelConfig& config, std::size_t block);

/// E of each published layer, 0 where nothing is routed: what check_policy() takes.
std::vector<int> experts_of_layers(const ModelConfig& config);

}  // namespace junto
