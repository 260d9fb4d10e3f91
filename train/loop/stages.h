// What changes while a run goes on: stages (what is frozen, how is routed, how many experts there are) and ramps of
// numbers, all over the share of the run that is done (schedule.h).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "moe/router_spec.h"
#include "train/loop/optimizer.h"
#include "train/nn/language_model.h"

namespace junto {

/// Holds from `from` on, until the next stage. What a stage does not name stays as the one before has it.
///   {"from": 0.5, "freeze": ["blk.*.attn_*"], "router": {...}, "experts": 16}
struct Stage {
  double from = 0.0;                               // 0 to 1
  std::optional<std::vector<std::string>> freeze;  // parameters whose names match are not updated
  std::optional<RouterSpec> router;
  std::int64_t experts = 0;  // grows to so many; 0: as they are
};
/// A list, ascending by `from`. Throws Error naming what is wrong with which stage.
std::vector<Stage> parse_stages(const std::vector<const Json*>& list, const LanguageModelShape& model,
                                std::string_view where);

/// What holds at a share of the run.
struct StageState {
  std::size_t count = 0;  // stages begun
  std::vector<std::string> freeze;
  RouterSpec router;
};
StageState stage_at(const std::vector<Stage>& stages, const RouterSpec& router, double share);

/// "losses.balance": [[0, 0.01], [0.5, 0]]: a straight line between points (share of the run, value), flat outside.
struct Ramp {
  std::string field;
  std::vector<std::pair<double, double>> points;  // ascending
};
double value_at(const Ramp& ramp, double share);

/// A model of `shape`, whose experts may be more than those of `from`, with the values of `from`: expert e of E is a
/// copy of expert e mod E. Routers' rows of copies differ by a millionth of their size, drawn from `seed`, so that
/// copies part. `optimizer` follows: moments and average of copies are copies.
std::unique_ptr<LanguageModel> grown_model(const LanguageModel& from, const LanguageModelShape& shape,
                                           std::uint64_t seed, Optimizer& optimizer);

}  // namespace junto
