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
#include "train/parallel/expert_share.h"

namespace junto {

/// What makes copies of experts unlike one another (EvoMoE, arXiv 2112.14397, spawns all its experts from one). All
/// experts are changed, each otherwise.
struct Diversity {
  enum class Kind : std::uint8_t {
    kCopy,    // nothing
    kMask,    // a share `amount` of the weights is 0
    kNoise,   // + amount * the deviation of the matrix * N(0, 1)
    kRedraw,  // a share `amount` of the weights is drawn as at the begin of a run
  } kind = Kind::kCopy;
  float amount = 0.1f;
  bool new_routers = false;  // routers begin anew, with moments of 0; else rows of copies differ by a millionth
};

/// Holds from `from` on, until the next stage. What a stage does not name stays as the one before has it.
///   {"from": 0.5, "freeze": ["blk.*.attn_*"], "router": {...}, "router_training": {...}, "experts": 16,
///    "diversity": {"kind": "mask", "amount": 0.3, "new_routers": true}, "router_back": 1, "placement": {"experts": 2}}
struct Stage {
  double from = 0.0;                               // 0 to 1
  std::optional<std::vector<std::string>> freeze;  // parameters whose names match are not updated
  std::optional<RouterSpec> router;
  std::optional<RouterTraining> router_training;
  std::int64_t experts = 0;                // grows to so many; 0: as they are
  Diversity diversity = {};                // of experts that grow
  std::optional<PlacementGrid> placement;  // experts move, with all that training knows of them
  std::optional<int> router_back;          // each router, as it is, reads so many layers below its own (Pre-gated MoE)
};
/// A list, ascending by `from`. Throws Error naming what is wrong with which stage.
std::vector<Stage> parse_stages(const std::vector<const Json*>& list, const LanguageModelShape& model,
                                std::string_view where);

/// What holds at a share of the run.
struct StageState {
  std::size_t count = 0;  // stages begun
  std::vector<std::string> freeze;
  RouterSpec router;
  RouterTraining router_training;
  Diversity diversity;  // of the last stage begun
  int router_back = 0;
  std::optional<PlacementGrid> placement;  // none: that of the recipe
};
StageState stage_at(const std::vector<Stage>& stages, const LanguageModelShape& model, double share);

/// "losses.balance": [[0, 0.01], [0.5, 0]]: a straight line between points (share of the run, value), flat outside.
/// {"exponential": [[0, 2], [0.5, 0.3]]}: equal factors over equal shares.
struct Ramp {
  std::string field;
  std::vector<std::pair<double, double>> points;  // ascending
  bool exponential = false;                       // values are above 0
};
double value_at(const Ramp& ramp, double share);

/// A model of `shape`, whose experts may be more than those of `from`, with the values of `from`: expert e of E is a
/// copy of expert e mod E. Routers' rows of copies differ by a millionth of their size, drawn from `seed`, so that
/// copies part; with `diversity` experts and routers do by more. `optimizer` follows: moments of copies are copies, the
/// average is changed as the values are. Where ranks share experts, these do not grow.
std::unique_ptr<LanguageModel> grown_model(const LanguageModel& from, const LanguageModelShape& shape,
                                           std::uint64_t seed, Optimizer& optimizer, const Diversity& diversity = {});

/// The same model under another placement: values, moments and average of experts move to the ranks that hold them from
/// now on, as they are. Every rank calls it. Not with Adafactor.
std::unique_ptr<LanguageModel> moved_model(const LanguageModel& from, std::shared_ptr<const ExpertShare> share,
                                           Optimizer& optimizer);

/// Selection biases, which are no parameters.
void copy_selection_biases(const LanguageModel& from, LanguageModel& to);

}  // namespace junto
