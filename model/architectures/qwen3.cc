// Qwen3 and Qwen3-MoE (arXiv 2505.09388): q and k norms per head.
#include "model/architectures/common.h"
#include "model/architectures/declarations.h"

namespace junto {

ModelConfig declare_qwen3(const ConfigReader& r) {
  ModelConfig m = declare_qwen_decoder(r, 128);
  for (BlockSpec& block : m.blocks) attention_of(block).qk_norm = QkNorm::kPerHead;
  return m;
}

ModelConfig declare_qwen3_moe(const ConfigReader& r) {
  ModelConfig m = declare_decoder(r);
  // llama.cpp renormalises always for this architecture and stores no key.
  const RouterSpec router =
      declare_softmax_router(r, r.boolean_or({"norm_topk_prob", "expert_weights_norm"}, r.gguf()));
  add_qwen_experts(r, m, router);
  for (BlockSpec& block : m.blocks) attention_of(block).qk_norm = QkNorm::kPerHead;
  // This architecture slides all its layers or none.
  if (!r.gguf() && r.boolean_or({"use_sliding_window", nullptr}, false)) {
    const std::int64_t window = r.integer_or({"sliding_window", nullptr}, 0, 0, INT32_MAX);
    for (BlockSpec& block : m.blocks) attention_of(block).window = static_cast<int>(window);
  }
  return m;
}

}  // namespace junto
