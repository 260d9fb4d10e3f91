// Routing that goes by what is in memory: a choice of its own (RoutingPolicy), as it changes what a model computes.
#include <algorithm>

#include "model/forward_pass.h"

namespace junto {
namespace {

bool goes_by_memory(const LayerPolicy& policy) {
  return policy.prefer_resident.value_or(0.0f) > 0.0f || policy.skip_late.value_or(false);
}

}  // namespace

void look_at_residents(Pass& pass, std::size_t block) {
  std::vector<std::uint8_t>& resident = pass.w.resident;
  resident.clear();
  const auto layer = static_cast<std::size_t>(pass.model.config.blocks[block].layer);
  const bool asked = std::ranges::any_of(
      pass.rows, [&](const PlacedRow& row) { return row.policies && goes_by_memory((*row.policies)[layer]); });
  if (!asked) return;
  // Experts that need no reading: zero, copy and constant ones, and those that were replaced.
  for (const ExpertWeights* expert : pass.experts->layers[block].experts) {
    resident.push_back(!has_weights(expert->kind) || expert->version > 0 ? 1 : 0);
  }
  pass.model.cache->add_resident(static_cast<int>(block), resident);
  pass.w.route.preferred = 0;
}

void leave_out_late(Pass& pass) {
  Workspace& w = pass.w;
  ExpertCache& cache = *pass.model.cache;
  std::int64_t skipped = 0;
  if (std::ranges::any_of(w.late, [](const LateDrop& drop) { return drop.has_value(); })) {
    add_awaited(w.plan, w.late, cache.empty_slots(), w.resident);
    skipped = prune_late(w.late, w.resident, w.plan);
  }
  cache.count_lossy(w.route.preferred, skipped);
}

}  // namespace junto
