// What ExpertFlow's token scheduler saves on a trace: its sequences are decoded side by side, a token of each at a
// time.
#pragma once

#include <cstdint>

#include "analyze/path_schedule.h"
#include "analyze/route_trace.h"
#include "model/path_predictor.h"

namespace junto {

/// What the tokens of a trace asked for of feed-forward experts.
TokenPaths paths_of(const RouteTrace& trace);
/// As many of each stage, of which `predictor` says that they are likeliest. Throws Error where it is of other routers.
TokenPaths predicted_paths_of(const RouteTrace& trace, PathPredictor& predictor);

/// Experts that a batch asks for in a layer, means over all batches and layers.
struct ScheduleQuality {
  std::int64_t units = 0;  // of two batches
  double original = 0;     // sequences in the order of the trace
  double random = 0;       // parted by chance
  double scheduled = 0;    // by the paths that the scheduler was shown
};

/// Two batches of `batch` sequences at a time: their next tokens are parted into two batches by chance and by `shown`,
/// what the scheduler sees of the trace's tokens. Sequences are taken as long as the shortest of a unit. Throws Error
/// where the trace has fewer than two batches of sequences.
ScheduleQuality measure_schedule(const RouteTrace& trace, const TokenPaths& shown, std::int64_t batch,
                                 std::uint64_t seed);

}  // namespace junto
