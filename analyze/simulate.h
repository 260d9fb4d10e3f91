// The expert cache on a machine that we do not have: the same eviction policies, another clock and another reader. A
// discrete-event model of decoding a trace token by token (moe/expert_cache.h without prefetching).
//
// A layer first spends its share of dense_s, computing with all cores. Experts in slots compute at once; those that are
// missing are read in order of their ids while slots are free, `reads` matrices at a time. A read waits latency_s, then
// for the disk, which serves one after the other, then takes a core for its part of arrive_s, in which it shares the
// cores with what computes. What has arrived computes when the cores are done with what came before.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "analyze/route_trace.h"
#include "moe/eviction.h"

namespace junto {

struct SimulatedMachine {
  double disk_bytes_per_s = 1e9;
  double latency_s = 0;  // of a read, before its first byte
  double dense_s = 0;    // a token: all but the routed experts
  double expert_s = 0;   // a routed expert, computed by all cores
  double arrive_s = 0;   // core time for bringing an expert that was read into the kernels' layout
  int reads = 4;         // matrices at a time
  int matrices = 3;      // of an expert
  int cores = 2;
};

struct SimulatedRun {
  Evict evict = Evict::kLfu;
  std::int64_t slots = 0;
  std::int64_t warm_up = 0;  // tokens before the clock and the counters start
  std::int64_t tokens = 0;   // counted; warm_up + tokens are of the trace
};

struct SimulationResult {
  double seconds = 0;
  double stall_s = 0;  // with nothing to compute
  std::int64_t hits = 0, misses = 0;
  double bytes_read = 0;
  std::int64_t tokens = 0;

  double tokens_per_s() const { return seconds > 0 ? static_cast<double>(tokens) / seconds : 0; }
  double hit_ratio() const;
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
