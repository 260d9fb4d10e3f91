// Synthetic traces: routing with a known skew and a known reuse, for models whose random weights have neither.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "analyze/route_trace.h"
#include "model/weights.h"

namespace junto {

/// How tokens choose. Each of a token's k slots keeps the expert that it had for the token before with probability
/// `repeat`; else it draws one that is not chosen yet, the expert of rank r (from 1) with a share of r^-zipf. Every
/// layer has ranks of its own.
struct TraceRecipe {
  double zipf = 0;    // 0: uniform
  double repeat = 0;  // 0 to 1
};

/// "uniform", "zipf:1.0", "zipf:1.0,repeat:0.5". Throws Error naming `name` and the forms there are.
TraceRecipe parse_trace_recipe(std::string_view text, std::string_view name);

/// A layer to fill: a TracedLayer without plan.
struct TraceShape {
  std::vector<TracedLayer> layers;
  std::vector<int> per_token;  // [layers], k
};

/// The routers of a model: feed-forward experts in order of computation; k is the most that a token can have.
TraceShape shape_of(const Model& model);
/// Throws Error naming options where k or E do not fit.
TraceShape make_trace_shape(int layers, int experts, int per_token, std::int64_t expert_bytes);

/// The same seed gives the same trace everywhere. Weights are 1 / k.
RouteTrace generate_trace(const TraceShape& shape, const TraceRecipe& recipe, std::int64_t tokens, std::uint64_t seed);

/// Of the largest expert of a block, as it is stored.
std::int64_t expert_bytes_of(const Model& model, int block);

}  // namespace junto
