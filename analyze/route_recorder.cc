#include "analyze/route_recorder.h"

#include <algorithm>

namespace junto {

Hooks RouteRecorder::hooks() {
  Hooks hooks;
  hooks.observe_points = mask_of(Point::kPlan);
  hooks.observe = [this](const Observation& seen) { add(seen); };
  return hooks;
}

void RouteRecorder::add(const Observation& seen) {
  if (seen.point != Point::kPlan || seen.plan == nullptr) return;
  RoutedBlock& routed = routed_[{seen.block, !seen.mixer, seen.round}];
  routed.round = seen.round;
  routed.block = seen.block;
  routed.layer = config_.blocks[static_cast<std::size_t>(seen.block)].layer;
  routed.mixer = seen.mixer;
  RoutePlan& plan = routed.plan;
  const std::int32_t begin = plan.offset.back();
  for (std::int64_t u = 0; u < seen.plan->units(); ++u) {
    plan.offset.push_back(begin + seen.plan->offset[static_cast<std::size_t>(u) + 1]);
  }
  plan.expert.insert(plan.expert.end(), seen.plan->expert.begin(), seen.plan->expert.end());
  plan.weight.insert(plan.weight.end(), seen.plan->weight.begin(), seen.plan->weight.end());
}

std::vector<const RoutedBlock*> RouteRecorder::blocks() const {
  std::vector<const RoutedBlock*> all;
  for (const auto& [key, routed] : routed_) all.push_back(&routed);
  return all;
}

int widest_row(const RoutePlan& plan) {
  int widest = 0;
  for (std::int64_t u = 0; u < plan.units(); ++u) {
    widest = std::max(widest, static_cast<int>(plan.experts_of(u).size()));
  }
  return widest;
}

}  // namespace junto
