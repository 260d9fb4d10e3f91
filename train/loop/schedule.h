// How long a run lasts and what its learning rate is, as a share of its height.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/json.h"

namespace junto {

/// Where a run stands: updates done and floating-point operations executed for them.
struct RunPosition {
  std::int64_t step = 0;
  double flops = 0.0;
};

/// Warm-up in a straight line, then:
///   kConstant  1
///   kCosine    half a cosine down to `final_share` at the end (Loshchilov and Hutter, arXiv 1608.03983)
///   kWsd       1, and over the last `decay_share` of the run in a straight line down to `final_share` (warm-up,
///              stable, decay: Hu et al., arXiv 2404.06395)
/// A run is `steps` updates; or, where `flops` is set, as many as that budget of executed operations pays for. Then
/// warm-up and decay are functions of the share of the budget that is spent: a run whose steps are dearer does fewer of
/// them, and is decayed all the same.
struct Schedule {
  enum class Kind : std::uint8_t { kConstant, kCosine, kWsd } kind = Kind::kCosine;
  std::int64_t steps = 1000;  // with `flops`: at most
  double flops = 0.0;         // 0: `steps` decide
  std::int64_t warmup_steps = 0;
  float warmup_share = 0.0f;  // of the budget; only with `flops`
  double warmup_flops = 0.0;  // the same in operations: equal for budgets that differ
  float final_share = 0.1f;
  float decay_share = 0.2f;
  std::int64_t patience = 0;  // evaluations without a better one after which the run stops early; 0: it never does
};
Schedule parse_schedule(const Json& json, std::string_view where);

/// The share of the run that lies behind `position`, 0 to 1.
double share_done(const Schedule& schedule, RunPosition position);
/// Whether no update is left.
bool is_over(const Schedule& schedule, RunPosition position);

/// For the update that follows `position`.
double learning_rate_share(const Schedule& schedule, RunPosition position);

}  // namespace junto
