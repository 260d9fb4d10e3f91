// What a step would cost where a layer's experts stand on several devices that wait for the slowest: a model of time by
// rows alone, for machines that we do not have. On one CPU the cost of a step is the sum of its rows instead.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "analyze/route_trace.h"
#include "moe/dispatch.h"

namespace junto {

/// Device d of `devices` holds the experts whose e * devices / E is d: a stretch of them.
Placement placement_in_stretches(int experts, int devices);

/// Rows of experts, of the slowest device and of the mean one, each summed over layers and steps: a layer ends when its
/// slowest device has computed all of its rows.
struct DeviceRows {
  double slowest = 0.0, mean = 0.0;

  /// Share of the devices' time in which they wait.
  double waiting() const { return slowest > 0.0 ? 1.0 - mean / slowest : 0.0; }
  DeviceRows& operator+=(const DeviceRows& more);
};

/// Of one layer in one step: `rows` [E] of each expert, shared evenly among the devices that hold it.
DeviceRows device_rows(std::span<const double> rows, const Placement& placement);

/// The feed-forward layers of `trace`, whose tokens are cut into steps of `batch` tokens, the last one shorter; each
/// layer's experts on `devices` devices in stretches. All routings of a layer wait for one another.
DeviceRows device_rows(const RouteTrace& trace, int devices, std::int64_t batch);

}  // namespace junto
