// The learning rate over a run, as a share of its height.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/json.h"

namespace junto {

/// Warm-up in a straight line, then:
///   kConstant  1
///   kCosine    half a cosine down to `final_share` at the last step (Loshchilov and Hutter, arXiv 1608.03983)
///   kWsd       1, and over the last `decay_share` of the steps in a straight line down to `final_share` (warm-up,
///              stable, decay: Hu et al., arXiv 2404.06395)
struct Schedule {
  enum class Kind : std::uint8_t { kConstant, kCosine, kWsd } kind = Kind::kCosine;
  std::int64_t steps = 1000;
  std::int64_t warmup_steps = 0;
  float final_share = 0.1f;
  float decay_share = 0.2f;
};
Schedule parse_schedule(const Json& json, std::string_view where);

/// For the update number `step`, from 0.
double learning_rate_share(const Schedule& schedule, std::int64_t step);

}  // namespace junto
