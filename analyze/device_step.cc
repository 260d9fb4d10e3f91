#include "analyze/device_step.h"

#include <algorithm>
#include <numeric>

namespace junto {

Placement placement_in_stretches(int experts, int devices) {
  Placement out{.version = 0, .ranks = devices, .ranks_of_expert = {}};
  for (std::int64_t e = 0; e < experts; ++e)
    out.ranks_of_expert.push_back({static_cast<std::int32_t>(e * devices / experts)});
  return out;
}

DeviceRows& DeviceRows::operator+=(const DeviceRows& more) {
  slowest += more.slowest;
  mean += more.mean;
  return *this;
}

DeviceRows device_rows(std::span<const double> rows, const Placement& placement) {
  std::vector<double> of_device(static_cast<std::size_t>(placement.ranks));
  for (std::size_t e = 0; e < rows.size(); ++e) {
    const std::vector<std::int32_t>& holders = placement.ranks_of_expert[e];
    for (const std::int32_t device : holders)
      of_device[static_cast<std::size_t>(device)] += rows[e] / static_cast<double>(holders.size());
  }
  return {.slowest = *std::max_element(of_device.begin(), of_device.end()),
          .mean = std::accumulate(of_device.begin(), of_device.end(), 0.0) / placement.ranks};
}

DeviceRows device_rows(const RouteTrace& trace, int devices, std::int64_t batch) {
  DeviceRows sum;
  std::vector<double> rows;
  for (const TracedLayer& layer : trace.layers) {
    if (layer.mixer) continue;
    const Placement placement = placement_in_stretches(layer.experts, devices);
    for (std::int64_t first = 0; first < trace.tokens(); first += batch) {
      rows.assign(static_cast<std::size_t>(layer.experts), 0.0);
      for (std::int64_t token = first; token < std::min(first + batch, trace.tokens()); ++token) {
        for (const std::int32_t expert : layer.plan.experts_of(token)) rows[static_cast<std::size_t>(expert)] += 1.0;
      }
      sum += device_rows(rows, placement);
    }
  }
  return sum;
}

}  // namespace junto
