#include "analyze/measure_schedule.h"

#include <algorithm>
#include <string>
#include <vector>

#include "analyze/side_by_side.h"
#include "analyze/traced_stages.h"
#include "base/error.h"
#include "base/random.h"
#include "moe/select.h"

namespace junto {
namespace {

TokenPaths paths_at(const TokenPaths& paths, std::span<const std::int64_t> tokens) {
  TokenPaths out{paths.cells, {}};
  for (const std::int64_t token : tokens) {
    const auto row = paths.of(token);
    out.asked.insert(out.asked.end(), row.begin(), row.end());
  }
  return out;
}

/// Halves in order, mixed.
std::vector<int> mixed(std::vector<int> halves, Random& random) {
  for (std::size_t i = halves.size(); i > 1; --i) std::swap(halves[i - 1], halves[random.next() % i]);
  return halves;
}

}  // namespace

TokenPaths paths_of(const RouteTrace& trace) {
  const TracedStages stages = stages_of(trace);
  TokenPaths out;
  for (const TracedLayer* router : stages.routers) out.cells += router->experts;
  out.asked.resize(static_cast<std::size_t>(out.cells * trace.tokens()));
  auto at = out.asked.begin();
  for (std::int64_t t = 0; t < trace.tokens(); ++t) {
    for (const TracedLayer* router : stages.routers) {
      for (const std::int32_t e : router->plan.experts_of(t)) at[e] = 1;
      at += router->experts;
    }
  }
  return out;
}

TokenPaths predicted_paths_of(const RouteTrace& trace, PathPredictor& predictor) {
  const TracedStages stages = stages_of(trace);
  TokenPaths out = paths_of(trace);
  if (predictor.model().config.path_experts != experts_of(stages)) {
    fail(predictor.model().path, "predicts other routers than those of " + trace.source);
  }
  std::ranges::fill(out.asked, 0);
  auto at = out.asked.begin();
  Chosen likely;
  for (std::int64_t t = 0; t < trace.tokens(); ++t) {
    std::span<const float> chances = predictor.predict(sequence_up_to(trace, t));
    for (const TracedLayer* router : stages.routers) {
      if (!chances.empty()) {
        const auto experts = static_cast<std::size_t>(router->experts);
        largest_k(chances.first(experts), static_cast<int>(router->plan.experts_of(t).size()), likely);
        for (const std::int32_t e : likely) at[e] = 1;
        chances = chances.subspan(experts);
      }
      at += router->experts;
    }
  }
  return out;
}

ScheduleQuality measure_schedule(const RouteTrace& trace, const TokenPaths& shown, std::int64_t batch,
                                 std::uint64_t seed) {
  const TokenPaths paths = paths_of(trace);
  const std::int64_t unit = 2 * batch, sequences = std::ssize(trace.sequence_begin);
  if (batch < 1 || sequences < unit) {
    fail(trace.source,
         "has " + std::to_string(sequences) + " sequences, expected at least two batches of " + std::to_string(batch));
  }
  Random random(seed);
  ScheduleQuality out;
  std::vector<int> halves(static_cast<std::size_t>(unit), 0);
  std::fill(halves.begin() + batch, halves.end(), 1);
  std::int64_t original = 0, by_chance = 0, scheduled = 0;
  for (const TracedPass& tokens : passes_of(trace, unit)) {
    const TokenPaths real = paths_at(paths, tokens);
    original += cells_of_groups(real, halves, 2);
    by_chance += cells_of_groups(real, mixed(halves, random), 2);
    scheduled += cells_of_groups(real, group_by_path(paths_at(shown, tokens), 2, random.next()), 2);
    ++out.units;
  }
  const double asks = 2.0 * static_cast<double>(out.units) * static_cast<double>(stages_of(trace).routers.size());
  if (asks == 0) return out;
  out.original = static_cast<double>(original) / asks;
  out.random = static_cast<double>(by_chance) / asks;
  out.scheduled = static_cast<double>(scheduled) / asks;
  return out;
}

}  // namespace junto
