// The expert cache on a machine that we do not have: the running cache's slots, policies and guesses (moe/slot_table.h)
// with another clock and another reader (analyze/machine_model.h). A discrete-event model of decoding a trace.
//
// A layer first spends its share of dense_s, computing with all cores. Experts in slots compute at once; those that are
// missing are read in order of their ids while slots are free, and after them what is guessed of a later layer. What
// has arrived computes when the cores are done with what came before. Of several sequences that are decoded side by
// side a layer asks for what any of them chose, and each expert computes once: rows share what is read.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "analyze/machine_model.h"
#include "analyze/route_trace.h"
#include "model/path_predictor.h"
#include "moe/slot_table.h"

namespace junto {

struct SimulatedRun {
  Evict evict = Evict::kLfu;
  std::int64_t slots = 0;
  std::int64_t warm_up = 0;  // tokens before the clock and the counters start
  std::int64_t tokens = 0;   // counted at least; warm_up + tokens are of the trace, or of its passes
  PrefetchRule prefetch = {};
  std::int64_t sequences = 1;                      // decoded side by side
  std::shared_ptr<const PastRoutes> learned = {};  // what Prefetch::kTable knows beforehand
  PathPredictor* paths = nullptr;                  // of kPath, which needs it
  /// Of kNextRouter, whose scores no trace has: the share of its guesses that are right, each by chance. 0: not known.
  double router_recall = 0;
};

struct SimulationResult : SlotCounters {
  double seconds = 0;
  double stall_s = 0;  // with nothing to compute
  double bytes_read = 0;
  std::int64_t tokens = 0;

  double tokens_per_s() const { return seconds > 0 ? static_cast<double>(tokens) / seconds : 0; }
};

/// The feed-forward layers of `trace`; expert_bytes where the trace does not know them. `popularity` as
/// popularity_of() gives it, for Evict::kStatic. Throws Error naming what does not fit.
SimulationResult simulate(const RouteTrace& trace, const SimulatedMachine& machine, const SimulatedRun& run,
                          std::int64_t expert_bytes, const std::vector<double>& popularity);

/// Uses of each expert of the feed-forward layers, in all rounds [layers * E, layer by layer].
std::vector<double> popularity_of(const RouteTrace& trace);

/// The largest expert of the feed-forward layers; 0 where the trace does not know.
std::int64_t expert_bytes_of(const RouteTrace& trace);

/// Of all feed-forward layers.
std::int64_t experts_of(const RouteTrace& trace);

}  // namespace junto
