#include "analyze/traced_stages.h"

#include <algorithm>
#include <cstdint>

namespace junto {

TracedStages stages_of(const RouteTrace& trace) {
  TracedStages out;
  for (const TracedLayer& router : trace.layers) {
    if (router.mixer) continue;
    if (router.round == 0) {
      out.experts.push_back(router.experts);
      out.rounds.push_back(0);
    }
    ++out.rounds.back();
    out.routers.push_back(&router);
    out.layer.push_back(static_cast<int>(out.experts.size()) - 1);
  }
  return out;
}

std::vector<int> experts_of(const TracedStages& stages) {
  std::vector<int> out;
  for (const TracedLayer* router : stages.routers) out.push_back(router->experts);
  return out;
}

PastRoutes past_routes_of(const RouteTrace& trace) {
  const TracedStages stages = stages_of(trace);
  PastRoutes past{experts_of(stages), {}};
  for (std::int64_t t = 0; t < trace.tokens(); ++t) {
    for (const TracedLayer* router : stages.routers) {
      const auto ids = router->plan.experts_of(t);
      std::ranges::sort(past.asked.emplace_back(ids.begin(), ids.end()));
    }
  }
  return past;
}

}  // namespace junto
