// A RoutePlan: for each routed unit any number (zero included) of (expert, weight).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace junto {

/// Compressed rows: the slots of unit u are offset[u] .. offset[u + 1]. A slot's place is where its expert's output
/// goes and the order in which outputs are summed: by weight descending, then id ascending.
struct RoutePlan {
  std::vector<std::int32_t> offset = {0};  // [units + 1]
  std::vector<std::int32_t> expert;        // [slots], 0 .. experts - 1 (zero-computation experts after the real ones)
  std::vector<float> weight;               // [slots], final: after renormalisation and scaling

  std::int64_t units() const { return static_cast<std::int64_t>(offset.size()) - 1; }
  std::int64_t slots() const { return static_cast<std::int64_t>(expert.size()); }
  std::span<const std::int32_t> experts_of(std::int64_t unit) const {
    return {expert.data() + offset[unit], static_cast<std::size_t>(offset[unit + 1] - offset[unit])};
  }
  std::span<const float> weights_of(std::int64_t unit) const {
    return {weight.data() + offset[unit], static_cast<std::size_t>(offset[unit + 1] - offset[unit])};
  }
  void clear() {
    offset.assign(1, 0);
    expert.clear();
    weight.clear();
  }
};

}  // namespace junto
