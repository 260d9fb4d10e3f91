#include "model/config.h"

namespace junto {

void make_routed(BlockSpec& block, const RouterSpec& router) {
  if (!block.routed) block.moe.activation = block.ffn.activation;
  block.routed = true;
  block.dense = false;
  block.moe.router = router;
  block.moe.kinds.assign(router.experts, ExpertKind::kFfn);
}

std::vector<int> experts_of_layers(const ModelConfig& config) {
  std::vector<int> experts;
  for (const BlockSpec& block : config.blocks) {
    if (static_cast<int>(experts.size()) <= block.layer) experts.resize(block.layer + 1);
    if (block.routed) experts[block.layer] = block.moe.router.experts;
  }
  return experts;
}

}  // namespace junto
