// OLMoE (arXiv 2409.02060): full-width q and k norms, softmax over all experts, weights not renormalised.
#include "model/architectures/common.h"
#include "model/architectures/declarations.h"

namespace junto {

ModelConfig declare_olmoe(const ConfigReader& r) {
  ModelConfig m = declare_decoder(r);
  const RouterSpec router = declare_softmax_router(r, r.boolean_or({"norm_topk_prob", "expert_weights_norm"}, false));
  for (BlockSpec& block : m.blocks) {
    attention_of(block).qk_norm = QkNorm::kFullWidth;
    attention_of(block).clip_qkv = static_cast<float>(r.number_or({"clip_qkv", "attention.clamp_kqv"}, 0.0));
    make_routed(block, router);
  }
  return m;
}

}  // namespace junto
