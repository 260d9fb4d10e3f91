// Seams of the forward pass: named points where a caller may look, and points where it may edit. Passed with a call;
// nothing is computed for points that nobody asked for.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "moe/dispatch.h"
#include "moe/route_plan.h"
#include "tensor/view.h"

namespace junto {

enum class Point : std::uint8_t {
  kBlockInput,    // [rows, D]
  kMixerOutput,   // [rows, D], before the residual sum
  kRouterLogits,  // [rows, E], before policy and masks
  kRouterScores,  // [rows, E]
  kPlan,          // plan; no values
  kExpertInput,   // [rows, D]: what the experts of this block read, or its dense feed-forward
  kGatedHidden,   // [slots of the expert, width]: act(gate) * up, one call per active expert; dense: [rows, width]
  kExpertOutput,  // [slots, D], before weights
  kFfnOutput,     // [rows, D], before the residual sum
  kBlockOutput,   // [rows, D]
};

constexpr std::uint32_t mask_of(Point point) {
  return std::uint32_t{1} << static_cast<int>(point);
}

/// One look. Views live until the call returns.
struct Observation {
  Point point = Point::kBlockInput;
  int block = 0;
  MatrixView<const float> values;
  const RoutePlan* plan = nullptr;       // from kPlan on, within a routed block
  const ExpertGroups* groups = nullptr;  // kGatedHidden, kExpertOutput
  int expert = -1;                       // kGatedHidden of an expert; -1: of the dense feed-forward
  bool mixer = false;                    // routing of attention experts (JetMoE), not of the feed-forward
  int round = 0;                         // of a layer that has several, from kRouterLogits to kExpertOutput
};

struct Hooks {
  std::uint32_t observe_points = 0;  // mask_of(...) | ...
  std::function<void(const Observation&)> observe;
  /// kBlockInput, kBlockOutput (hidden state) and kRouterLogits may be edited in place.
  std::uint32_t edit_points = 0;
  std::function<void(Point, int block, MatrixView<float>)> edit;
  /// kPlan may be edited too: any experts of the layer, each at most once a unit, with any finite weights; as many
  /// units as there were. Observers of kPlan see the edited one.
  std::function<void(int block, bool mixer, RoutePlan&)> edit_plan;

  bool observes(Point point) const { return (observe_points & mask_of(point)) != 0; }
  bool edits(Point point) const { return (edit_points & mask_of(point)) != 0; }
};

}  // namespace junto
