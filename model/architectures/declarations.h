// One declaration per architecture; model/architectures.cc lists them with their tensor names.
#pragma once

#include "model/architectures.h"

namespace junto {

ModelConfig declare_llama(const ConfigReader& r);  // Llama; in GGUF also Mistral and Mixtral
ModelConfig declare_mistral(const ConfigReader& r);
ModelConfig declare_mixtral(const ConfigReader& r);
ModelConfig declare_olmoe(const ConfigReader& r);
ModelConfig declare_flex_olmo(const ConfigReader& r);
ModelConfig declare_qwen2(const ConfigReader& r);
ModelConfig declare_qwen2_moe(const ConfigReader& r);
ModelConfig declare_qwen3(const ConfigReader& r);
ModelConfig declare_qwen3_moe(const ConfigReader& r);
ModelConfig declare_deepseek_v2(const ConfigReader& r);
ModelConfig declare_deepseek_v3(const ConfigReader& r);  // in GGUF both
ModelConfig declare_longcat_flash(const ConfigReader& r);
ModelConfig declare_gemma3(const ConfigReader& r);
ModelConfig declare_gpt_oss(const ConfigReader& r);
ModelConfig declare_granite_moe(const ConfigReader& r);
ModelConfig declare_phimoe(const ConfigReader& r);
ModelConfig declare_glm4_moe(const ConfigReader& r);
ModelConfig declare_dots1(const ConfigReader& r);
ModelConfig declare_minimax_m2(const ConfigReader& r);
ModelConfig declare_ernie4_5_moe(const ConfigReader& r);
ModelConfig declare_hunyuan_moe(const ConfigReader& r);
ModelConfig declare_dbrx(const ConfigReader& r);
ModelConfig declare_jetmoe(const ConfigReader& r);
ModelConfig declare_lfm2_moe(const ConfigReader& r);
ModelConfig declare_llama4(const ConfigReader& r);
ModelConfig declare_afmoe(const ConfigReader& r);
ModelConfig declare_moe_plus_plus(const ConfigReader& r);
ModelConfig declare_dynamic_moe(const ConfigReader& r);

/// Qwen's choice of routed layers: every decoder_sparse_step-th that mlp_only_layers does not name.
/// Attention with windows by layer and a dense feed-forward; `head_dim`: see declare_attention().
ModelConfig declare_qwen_decoder(const ConfigReader& r, int head_dim);
void add_qwen_experts(const ConfigReader& r, ModelConfig& m, const RouterSpec& router);

// Published tensor names beyond the common ones.
std::span<const TensorRule> mixtral_tensors();
std::span<const TensorRule> flex_olmo_tensors();
std::span<const TensorRule> qwen2_moe_tensors();
std::span<const TensorRule> deepseek_tensors();
std::span<const TensorRule> longcat_flash_tensors();
std::span<const TensorRule> gemma3_tensors();
std::span<const TensorRule> gpt_oss_tensors();
std::span<const TensorRule> granite_moe_tensors();
std::span<const TensorRule> minimax_m2_tensors();
std::span<const TensorRule> ernie4_5_moe_tensors();
std::span<const TensorRule> hunyuan_moe_tensors();
std::span<const TensorRule> dbrx_tensors();
std::span<const TensorRule> dbrx_gguf_tensors();
std::span<const TensorRule> jetmoe_tensors();
std::span<const TensorRule> lfm2_moe_tensors();
std::span<const TensorRule> llama4_tensors();
std::span<const TensorRule> afmoe_tensors();
std::span<const TensorRule> moe_plus_plus_tensors();
std::span<const TensorRule> dynamic_moe_tensors();

// Names of llama.cpp's files that differ from the canonical ones.
std::span<const TensorRule> post_norm_gguf_tensors();  // gpt-oss, GLM-4.5: the norm before the feed-forward
std::span<const TensorRule> lfm2_moe_gguf_tensors();

}  // namespace junto
