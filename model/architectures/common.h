// What most decoders share, for declarations to start from.
#pragma once

#include "model/config.h"
#include "model/config_reader.h"
#include "model/rope.h"

namespace junto {

/// Bounds of plain sizes: far above any published model, far below overflow.
inline constexpr std::int64_t kMaxSize = std::int64_t{1} << 24;
inline constexpr std::int64_t kMaxLayers = 4096;
inline constexpr std::int64_t kMaxExperts = 65536;

/// vocabulary, widths, context, norm, ties; no blocks yet.
ModelConfig declare_sizes(const ConfigReader& r);
std::int64_t layer_count(const ConfigReader& r);

/// heads, kv_heads, head_dim, scale; rope left out.
/// `head_dim`: what config.json means where it does not say; 0: hidden size / heads.
AttentionSpec declare_attention(const ConfigReader& r, int head_dim = 0);

/// declare_sizes plus layer_count blocks of pre-norm attention with one rope and a dense feed-forward.
ModelConfig declare_decoder(const ConfigReader& r, const RopeRequest& rope = {}, int head_dim = 0);

/// The activation named by hidden_act (GGUF files do not say: `fallback`). Unknown names are refused.
Activation declare_activation(const ConfigReader& r, ActivationKind fallback = ActivationKind::kSilu,
                              Key key = {"hidden_act", nullptr});

AttentionSpec& attention_of(BlockSpec& block);

/// Number of routed experts under any of its published names; `low` is the least allowed.
int expert_count(const ConfigReader& r, int low = 1);
int experts_per_token(const ConfigReader& r, int experts);

/// Which layers see a window (or chunk) only: layer_types, or `fallback` for each layer where the option is absent.
std::vector<bool> sliding_layers(const ConfigReader& r, std::size_t layers,
                                 bool (*fallback)(const ConfigReader&, std::size_t));

/// Softmax over all experts, top-k, weights raw or renormalised.
RouterSpec declare_softmax_router(const ConfigReader& r, bool renormalise);
/// Top-k logits, softmax over the chosen.
RouterSpec declare_logit_router(const ConfigReader& r);
/// DeepSeek-V3's scheme without groups: sigmoid scores, a stored bias that selects only.
RouterSpec declare_sigmoid_router(const ConfigReader& r, bool renormalise, float scale);

/// Rotary dimensions and grouped selection of the DeepSeek family (deepseek.cc).
MlaSpec declare_mla(const ConfigReader& r);
SelectRule grouped_top_k(const ConfigReader& r, int k, int experts, GroupLimited::GroupScore score);
/// Routes all blocks from first_k_dense_replace on, with shared experts where n_shared_experts says so.
void add_deepseek_experts(const ConfigReader& r, ModelConfig& m, const RouterSpec& router);

/// GGUF stores rotation pairs of the `llama` family as neighbours; Hugging Face as halves.
RopeStyle llama_rope_style(const ConfigReader& r);

}  // namespace junto
