#include "analyze/route_replay.h"

#include <string>
#include <utility>

#include "base/error.h"

namespace junto {

RouteReplay::RouteReplay(RouteTrace trace, const ModelConfig& config, std::string_view where)
    : trace_(std::move(trace)), layer_of_block_(config.blocks.size(), -1) {
  std::vector<int> layers;
  for (std::size_t l = 0; l < trace_.layers.size(); ++l) {
    if (!trace_.layers[l].mixer) layers.push_back(static_cast<int>(l));
  }
  std::size_t routed = 0;
  for (std::size_t b = 0; b < config.blocks.size(); ++b) {
    if (!config.blocks[b].routed) continue;
    if (first_block_ < 0) first_block_ = static_cast<int>(b);
    if (routed < layers.size()) {
      const TracedLayer& layer = trace_.layers[static_cast<std::size_t>(layers[routed])];
      const int experts = config.blocks[b].moe.router.experts;
      if (layer.experts != experts) {
        fail(where, layer.name() + " has " + std::to_string(layer.experts) + " experts, the model's layer " +
                        std::to_string(config.blocks[b].layer) + " has " + std::to_string(experts));
      }
      layer_of_block_[b] = layers[routed];
    }
    ++routed;
  }
  if (routed != layers.size() || routed == 0) {
    fail(where, "has " + std::to_string(layers.size()) + " routed layers, the model has " + std::to_string(routed));
  }
  if (trace_.tokens() == 0) fail(where, "has no tokens");
}

Hooks RouteReplay::hooks() {
  Hooks hooks;
  hooks.edit_points = mask_of(Point::kPlan);
  hooks.edit_plan = [this](int block, bool mixer, RoutePlan& plan) { replace(block, mixer, plan); };
  return hooks;
}

void RouteReplay::replace(int block, bool mixer, RoutePlan& plan) {
  const int layer = layer_of_block_[static_cast<std::size_t>(block)];
  if (mixer || layer < 0) return;
  const std::int64_t rows = plan.units();
  if (block == first_block_) {
    first_ = next_token();
    rows_ = rows;
  }
  const RoutePlan& traced = trace_.layers[static_cast<std::size_t>(layer)].plan;
  plan.clear();
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int64_t token = (first_ + r) % trace_.tokens();
    const auto experts = traced.experts_of(token);
    const auto weights = traced.weights_of(token);
    plan.expert.insert(plan.expert.end(), experts.begin(), experts.end());
    plan.weight.insert(plan.weight.end(), weights.begin(), weights.end());
    plan.offset.push_back(static_cast<std::int32_t>(plan.slots()));
  }
}

}  // namespace junto
