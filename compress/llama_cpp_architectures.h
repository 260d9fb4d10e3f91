// What llama.cpp reads and needs of each architecture that Junto writes for it: facts of src/models/*.cpp.
#pragma once

#include <string_view>
#include <vector>

namespace junto {

/// Keys that llama.cpp reads for some architectures only.
enum LlamaCppKey : unsigned {
  kExpertFfn = 1u << 0,       // expert_feed_forward_length
  kSharedFfn = 1u << 1,       // expert_shared_feed_forward_length
  kSharedCount = 1u << 2,     // expert_shared_count
  kLeadingDense = 1u << 3,    // leading_dense_block_count
  kMoeStep = 1u << 4,         // interleave_moe_layer_step
  kScale = 1u << 5,           // expert_weights_scale
  kNorm = 1u << 6,            // expert_weights_norm
  kGating = 1u << 7,          // expert_gating_func
  kMla = 1u << 8,             // attention.q_lora_rank, kv_lora_rank, key_length_mla, value_length_mla
  kYarnLog = 1u << 9,         // rope.scaling.yarn_log_multiplier
  kRopeFreqs = 1u << 10,      // tensor rope_freqs.weight
  kMultipliers = 1u << 11,    // logit_scale, residual_scale, embedding_scale, attention.scale
  kWindow = 1u << 12,         // attention.sliding_window
  kWindowPattern = 1u << 13,  // attention.sliding_window_pattern
  kWindowRope = 1u << 14,     // rope.freq_base_swa
  kSoftcap = 1u << 15,        // final_logit_softcapping
  kClamp = 1u << 16,          // attention.clamp_kqv
  kShortConv = 1u << 17,      // shortconv.l_cache
};

/// Shapes that llama.cpp takes for granted.
enum LlamaCppShape : unsigned {
  kAnyShape = 0,
  kSquareQ = 1u << 0,         // heads * head_dim is the hidden size
  kEqualHeads = 1u << 1,      // as many KV heads as heads
  kDenseLeadsOnly = 1u << 2,  // no dense block after a routed one
  kFusedQkv = 1u << 3,        // q, k and v are one tensor
};

struct LlamaCppArchitecture {
  std::string_view name;
  unsigned keys;                           // of LlamaCppKey
  unsigned shapes;                         // of LlamaCppShape
  std::vector<std::string_view> required;  // roles: in every block that has attention (attn_*) or experts (others)
  std::vector<std::string_view> biases;    // roles of biases that may be there, apart from those of q, k and v
  std::string_view never = {};             // why it computes something else, whatever the options
};

/// Throws Error for a name without a row.
const LlamaCppArchitecture& llama_cpp_architecture(std::string_view name);

/// llama.cpp's name for a Hugging Face class; empty where it has none.
std::string_view llama_cpp_name(std::string_view hf_class);

}  // namespace junto
