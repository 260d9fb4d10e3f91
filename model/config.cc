#include "model/config.h"

#include <numeric>

namespace junto {

void make_routed(BlockSpec& block, const RouterSpec& router) {
  if (!block.routed) block.moe.activation = block.ffn.activation;
  block.routed = true;
  block.dense = false;
  block.moe.router = router;
  block.moe.kinds.assign(router.experts, ExpertKind::kFfn);
}

void set_norms(BlockSpec& block, BlockNorms norms) {
  const bool pre = norms == BlockNorms::kPre;
  block.mixer_norm = {.pre = pre, .sum = !pre};
  block.ffn_norm = {.pre = pre, .sum = !pre, .again = norms == BlockNorms::kPostTwice && block.routed};
}

std::int64_t ModelConfig::outputs() const {
  return path_experts.empty() ? vocab_size : std::accumulate(path_experts.begin(), path_experts.end(), std::int64_t{0});
}

std::size_t router_source(const ModelConfig& config, std::size_t block) {
  int back = config.blocks[block].moe.router_back;
  for (std::size_t b = block; back > 0 && b-- > 0;) {
    if (config.blocks[b].routed && --back == 0) return b;
  }
  return block;
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
