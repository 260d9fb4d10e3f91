// The feed-forward routers of a trace as the stages of a token (moe/stages.h): what caches and predictors count by.
#pragma once

#include <vector>

#include "analyze/route_trace.h"
#include "moe/past_routes.h"
#include "moe/stages.h"

namespace junto {

/// Points into the trace. Layers are counted from 0, however the model's publisher counts them.
struct TracedStages {
  std::vector<const TracedLayer*> routers;  // [stages]
  std::vector<int> layer;                   // [stages]
  std::vector<int> experts, rounds;         // [layers]

  ExpertStages stages() const { return ExpertStages(experts, rounds); }
};

TracedStages stages_of(const RouteTrace& trace);

/// E of each stage.
std::vector<int> experts_of(const TracedStages& stages);

/// What each token asked for, ids ascending.
PastRoutes past_routes_of(const RouteTrace& trace);

}  // namespace junto
