// What a trace says about caching and prediction: popularity, entropy, reuse, co-activation.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "analyze/route_trace.h"
#include "base/json.h"

namespace junto {

/// Two experts that the same tokens chose. lift: as many times as often as if each were chosen on its own.
struct ExpertPair {
  std::int32_t a = 0, b = 0;
  std::int64_t together = 0;  // tokens
  double lift = 0;
};

struct LayerStats {
  std::string name;
  int layer = 0;
  bool mixer = false;
  int round = 0;
  int experts = 0;
  std::vector<std::int64_t> uses;  // [E], of the whole trace
  double per_token = 0;            // experts that a token chooses
  double entropy_bits = 0;         // of the uses; log2(E) where all experts are used alike
  double top_quarter = 0;          // share of uses that the most used quarter of the experts has
  double repeats = 0;              // share of uses whose expert the token before used too
  /// [d]: uses with d other experts of this layer used since the same expert's last use. A cache that gives the layer c
  /// slots and evicts the least recently used has those with d < c. First uses are not in it.
  std::vector<std::int64_t> reuse;
  std::vector<ExpertPair> pairs;  // the most telling first: by together * log(lift)

  /// The least d with at least `share` of the reuses at or below it; -1 without any.
  int reuse_quantile(double share) const;
  /// Share of all uses that `slots` slots would have, least recently used evicted.
  double lru_hits(int slots) const;
};

struct TraceStats {
  std::string source;
  std::int64_t tokens = 0;
  std::vector<LayerStats> layers;
};

inline constexpr int kMaxPairedExperts = 1024;  // of layers with more, pairs are not counted

/// Keeps `pairs` pairs a layer.
TraceStats measure_trace(const RouteTrace& trace, int pairs);

/// {"source", "tokens", "layers": [{"layer", "mixer", "round", "experts", "per_token", "entropy_bits",
/// "max_entropy_bits", "top_quarter", "repeats", "reuse_median", "reuse_p90", "uses", "reuse", "pairs": [[a, b,
/// together, lift]...]}]}
Json to_json(const TraceStats& stats);

/// Popularity by layer, entropy by layer, reuse, and the co-activation of a layer in the middle, as one SVG.
std::string draw_trace(const RouteTrace& trace, const TraceStats& stats);

}  // namespace junto
