#include "train/reproduce/plan.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "base/progress.h"
#include "cli/table.h"
#include "train/loop/recipe.h"

namespace junto {
namespace {

constexpr std::int64_t kProbeSteps = 3;

/// Steps of a run from the start: what the schedule says, or what its budget of operations pays for where those are
/// fewer.
double steps_of(const Setting& setting, const Run& run, const StepCost& cost) {
  const Json recipe = recipe_of(setting.experiment, run, setting.texts, setting.folder);
  const double flops = parse_recipe(recipe, run.arm).schedule.flops, most = static_cast<double>(cost.steps_of_run);
  return flops > 0.0 ? std::min(most, std::ceil(flops / cost.flops)) : most;
}

/// Of one seed, each run with the trunk that it is of.
std::vector<TrunkRuns> trunks_of_seed(const Experiment& experiment) {
  std::vector<Run> runs;
  for (const Arm& arm : experiment.arms) runs.push_back({.arm = arm.name, .seed = 1});
  return trunks_of(experiment, runs);
}

}  // namespace

int print_plan(const Setting& setting) {
  const Experiment& experiment = setting.experiment;
  Table table{{{"arm"},
               {"tuning runs", Align::kRight},
               {"seeds", Align::kRight},
               {"parameters", Align::kRight},
               {"steps", Align::kRight},
               {"FLOP a run", Align::kRight},
               {"minutes in all", Align::kRight},
               {"memory", Align::kRight}},
              {}};
  double minutes = 0.0, flops = 0.0;
  std::size_t branches = 0;
  const std::vector<Run> tuning = tuning_runs(experiment);
  std::map<std::string, std::vector<std::string>> row_of_arm;
  for (const TrunkRuns& trunk : trunks_of_seed(experiment)) {
    const StepCost cost = probe_arm(experiment, trunk.back(), setting.texts, kProbeSteps);
    for (const Run& run : trunk) {
      const bool branch = run.arm != trunk.back().arm;
      const auto grid = static_cast<std::int64_t>(std::ranges::count(tuning, run.arm, &Run::arm));
      const std::int64_t seeds = seeds_of(experiment, arm_of(experiment, run.arm));
      const double whole = steps_of(setting, run, cost);
      const double own = branch ? std::ceil(planned_flops(experiment, run, trunk) / cost.flops) : whole;
      const double steps = static_cast<double>(grid) * whole + static_cast<double>(seeds) * own;
      minutes += steps * cost.seconds / 60.0, flops += steps * cost.flops, branches += branch ? 1 : 0;
      char in_all[32];
      std::snprintf(in_all, sizeof in_all, "%.1f", steps * cost.seconds / 60.0);
      row_of_arm[run.arm] = {run.arm,
                             std::to_string(grid),
                             std::to_string(seeds),
                             format_quantity(static_cast<double>(cost.parameters), ""),
                             (branch ? "last " : "") + std::to_string(static_cast<std::int64_t>(own)),
                             format_quantity(own * cost.flops, ""),
                             in_all,
                             format_quantity(static_cast<double>(cost.bytes), "B")};
    }
  }
  for (const Arm& arm : experiment.arms) table.rows.push_back(row_of_arm.at(arm.name));
  std::printf(
      "%s\nin all %s, %.1f minutes on %d thread%s as this machine is now; a variable number of experts is counted as "
      "at the first steps%s\n",
      to_plain(table).c_str(), format_quantity(flops, "FLOP").c_str(), minutes, setting.machine.threads,
      setting.machine.threads == 1 ? "" : "s",
      branches > 0 ? "; of arms that branch from another's run only their last steps are executed" : "");
  return 0;
}

}  // namespace junto
