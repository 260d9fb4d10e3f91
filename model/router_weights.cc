#include "model/router_weights.h"

#include <algorithm>
#include <cmath>
#include <variant>

#include "base/error.h"

namespace junto {

std::vector<float> inverse_row_norms(const WeightMatrix& weights) {
  std::vector<float> inverse(static_cast<std::size_t>(weights.rows)), row(static_cast<std::size_t>(weights.cols));
  for (std::int64_t r = 0; r < weights.rows; ++r) {
    decode_row(weights, r, row);
    double sum = 0.0;
    for (const float value : row) sum += static_cast<double>(value) * static_cast<double>(value);
    inverse[static_cast<std::size_t>(r)] = sum > 0.0 ? static_cast<float>(1.0 / std::sqrt(sum)) : 0.0f;
  }
  return inverse;
}

void check_decodable(const ModelConfig& config, const std::string& where) {
  for (std::size_t b = 0; b < config.blocks.size(); ++b) {
    if (!config.blocks[b].routed) continue;
    const SelectRule& rule = config.blocks[b].moe.router.select;
    const std::string block = "block " + std::to_string(b) + ": ";
    if (std::holds_alternative<ExpertChoice>(rule)) {
      fail(where, block + "experts choose tokens (expert_choice), later ones among them: no decoder can run it");
    }
    const auto* given = std::get_if<Given>(&rule);
    if (given != nullptr && given->key == Given::Key::kClass) {
      fail(where, block + "experts are given by a class, which tokens do not have; expected key token");
    }
  }
}

bool carries_logits(const ModelConfig& config) {
  return std::any_of(config.blocks.begin(), config.blocks.end(),
                     [](const BlockSpec& block) { return block.routed && block.moe.router.logit_residual; });
}

std::vector<bool> kept_inputs(const ModelConfig& config) {
  std::vector<bool> kept(config.blocks.size(), false);
  for (std::size_t b = 0; b < config.blocks.size(); ++b) {
    if (config.blocks[b].routed && router_source(config, b) != b) kept[router_source(config, b)] = true;
  }
  return kept;
}

int carried_experts(const ModelConfig& config, std::size_t block, int number) {
  if (number > 0) return config.blocks[block].moe.router.experts;
  for (std::size_t b = block; b-- > 0;) {
    if (config.blocks[b].routed) return config.blocks[b].moe.router.experts;
  }
  return 0;
}

}  // namespace junto
