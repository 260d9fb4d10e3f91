// Which expert took which row: what a kPlan hook sees during a pass, kept.
#pragma once

#include <cstdint>
#include <map>
#include <tuple>
#include <vector>

#include "model/config.h"
#include "model/hooks.h"
#include "moe/route_plan.h"

namespace junto {

/// The plan of one router over all rows of one sequence so far.
struct RoutedBlock {
  int block = 0;
  int layer = 0;       // the number that the model's publisher counts by: BlockSpec::layer
  bool mixer = false;  // attention experts
  int round = 0;       // of a layer that has several
  RoutePlan plan;      // one unit a row
};

/// Collects plans. Give hooks() to calls that compute rows of one sequence, in order.
class RouteRecorder {
 public:
  explicit RouteRecorder(const ModelConfig& config) : config_(config) {}
  RouteRecorder(const RouteRecorder&) = delete;
  RouteRecorder& operator=(const RouteRecorder&) = delete;

  /// Hooks that observe plans; they point to this object.
  Hooks hooks();

  /// By block; attention experts before the feed-forward's.
  std::vector<const RoutedBlock*> blocks() const;

 private:
  void add(const Observation& seen);

  const ModelConfig& config_;
  std::map<std::tuple<int, bool, int>, RoutedBlock> routed_;  // (block, not mixer, round)
};

/// The most slots that a unit of `plan` has.
int widest_row(const RoutePlan& plan);

}  // namespace junto
