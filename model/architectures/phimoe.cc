// Phi-3.5-MoE (arXiv 2404.14219): layer norms with biases, SparseMixer routing (arXiv 2409.12136).
#include <algorithm>

#include "model/architectures/common.h"
#include "model/architectures/declarations.h"

namespace junto {

ModelConfig declare_phimoe(const ConfigReader& r) {
  ModelConfig m = declare_decoder(r, {.default_theta = 1e6, .named_magnitudes = true});
  m.norm = NormKind::kLayer;
  RouterSpec router;
  router.experts = expert_count(r);
  // The method is one of two rounds; the published code does not read num_experts_per_tok.
  router.select =
      SparseMixer{std::min(2, router.experts), static_cast<float>(r.number_or({"router_jitter_noise", nullptr}, 0.01))};
  const std::int64_t window = r.integer_or({"sliding_window", "attention.sliding_window"}, 0, 0, INT32_MAX);
  for (BlockSpec& block : m.blocks) {
    make_routed(block, router);
    attention_of(block).window = static_cast<int>(window);
  }
  return m;
}

}  // namespace junto
