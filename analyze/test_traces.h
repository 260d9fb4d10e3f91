// For tests: small traces written out by hand.
#pragma once

#include <initializer_list>
#include <vector>

#include "analyze/route_trace.h"

namespace junto {

/// ids [layers][tokens][k]; equal weights.
inline RouteTrace trace_of_ids(int experts, const std::vector<std::vector<std::vector<std::int32_t>>>& ids) {
  RouteTrace trace;
  trace.source = "a test";
  for (std::size_t l = 0; l < ids.size(); ++l) {
    TracedLayer layer;
    layer.layer = static_cast<int>(l);
    layer.experts = experts;
    for (const auto& unit : ids[l]) {
      for (const std::int32_t e : unit) {
        layer.plan.expert.push_back(e);
        layer.plan.weight.push_back(1.0f / static_cast<float>(unit.size()));
      }
      layer.plan.offset.push_back(static_cast<std::int32_t>(layer.plan.slots()));
    }
    trace.layers.push_back(std::move(layer));
  }
  trace.token.assign(ids[0].size(), 7);
  if (!trace.token.empty()) trace.sequence_begin = {0};
  return trace;
}

}  // namespace junto
