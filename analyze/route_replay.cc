#include "analyze/route_replay.h"

#include <algorithm>
#include <string>
#include <utility>

#include "analyze/traced_stages.h"
#include "base/error.h"

namespace junto {

RouteReplay::RouteReplay(RouteTrace trace, const ModelConfig& config, std::string_view where)
    : trace_(std::move(trace)),
      layer_of_block_(config.blocks.size(), -1),
      rounds_(config.blocks.size(), 1),
      round_(config.blocks.size(), 0) {
  const TracedStages traced = stages_of(trace_);
  std::size_t routed = 0;
  for (std::size_t b = 0; b < config.blocks.size(); ++b) {
    if (!config.blocks[b].routed) continue;
    if (first_block_ < 0) first_block_ = static_cast<int>(b);
    rounds_[b] = config.blocks[b].moe.rounds.count;
    if (routed < traced.experts.size()) {
      const auto first = std::ranges::find(traced.layer, static_cast<int>(routed)) - traced.layer.begin();
      const TracedLayer& layer = *traced.routers[static_cast<std::size_t>(first)];
      const std::string name = "the model's layer " + std::to_string(config.blocks[b].layer);
      const int experts = config.blocks[b].moe.router.experts;
      if (layer.experts != experts) {
        fail(where, layer.name() + " has " + std::to_string(layer.experts) + " experts, " + name + " has " +
                        std::to_string(experts));
      }
      if (traced.rounds[routed] != rounds_[b]) {
        fail(where, layer.name() + " has " + std::to_string(traced.rounds[routed]) + " rounds, " + name + " has " +
                        std::to_string(rounds_[b]));
      }
      layer_of_block_[b] = static_cast<int>(&layer - trace_.layers.data());
    }
    ++routed;
  }
  if (routed != traced.experts.size() || routed == 0) {
    fail(where,
         "has " + std::to_string(traced.experts.size()) + " routed layers, the model has " + std::to_string(routed));
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
  int& round = round_[static_cast<std::size_t>(block)];
  if (block == first_block_ && round == 0) {
    first_ = next_token();
    rows_ = rows;
  }
  const RoutePlan& traced = trace_.layers[static_cast<std::size_t>(layer + round)].plan;
  round = (round + 1) % rounds_[static_cast<std::size_t>(block)];
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
