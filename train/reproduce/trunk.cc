#include "train/reproduce/trunk.h"

#include <algorithm>
#include <filesystem>
#include <optional>

#include "base/error.h"
#include "train/loop/recipe.h"
#include "train/reproduce/arm_run.h"

namespace junto {
namespace {

double flops_of(const Experiment& experiment, const std::string& arm) {
  Json recipe = experiment.recipe;
  for (const std::string& assignment : arm_of(experiment, arm).set) set_field(recipe, assignment);
  return recipe.contains("schedule") ? recipe["schedule"].value("flops", 0.0) : 0.0;
}

Recipe read_recipe(const Setting& setting, const Run& run) {
  return parse_recipe(recipe_of(setting.experiment, run, setting.texts, setting.folder), run.arm);
}

/// What the branch begins with.
std::string saved_path(const Setting& setting, const Run& run) {
  return row_path(setting.experiment, run, setting.texts, setting.machine, setting.folder) + ".begin";
}

/// Where the next update of the trunk is not the branch's any more.
bool parts_here(const Schedule& trunk, const Schedule& branch, RunPosition position) {
  return is_over(branch, position) || learning_rate_share(branch, position) != learning_rate_share(trunk, position);
}

void finish_branch(const Setting& setting, const Run& run, const std::string& from,
                   const std::function<void(const Run&, const Json&)>& keep) {
  ArmRun branch(setting.experiment, run, setting.texts, setting.folder);
  branch.branch_from(from);
  while (!branch.done()) branch.step();
  keep(run, branch.finish());
}

}  // namespace

void check_trunks(const Experiment& experiment, const std::vector<DomainText>& texts) {
  for (const Arm& arm : experiment.arms) {
    if (arm.trunk.empty()) continue;
    const auto recipe = [&](const std::string& name) {
      return recipe_of(experiment, {.arm = name}, texts, "/nowhere");
    };
    Json mine = recipe(arm.name), theirs = recipe(arm.trunk);
    const Recipe parsed = parse_recipe(mine, arm.name);
    const double flops = parsed.schedule.flops, of_trunk = parse_recipe(theirs, arm.trunk).schedule.flops;
    for (Json* one : {&mine, &theirs}) one->erase("name"), (*one)["schedule"].erase("flops");
    const auto late = [](const Stage& stage) { return stage.from > 0.0; };
    std::string wrong;
    if (mine != theirs) wrong = "differs at " + Json::diff(mine, theirs)[0].value("path", "") + ", expected to do so";
    if (!(flops > 0.0 && flops < of_trunk)) wrong = "has no smaller budget, expected to differ";
    if (parsed.schedule.kind != Schedule::Kind::kWsd || parsed.schedule.warmup_share > 0.0f)
      wrong = "has no wsd schedule with warmup_flops, expected to differ";
    if (!parsed.ramps.empty() || std::ranges::any_of(parsed.stages, late) || parsed.schedule.patience > 0)
      wrong = "has ramps, stages or patience, which follow the share of the run, expected to differ";
    if (wrong.empty()) continue;
    fail(experiment.slug, "arm " + arm.name + ": trunk: " + arm.trunk + ": the arm " + wrong +
                              " from its trunk in schedule.flops alone");
  }
}

std::vector<TrunkRuns> trunks_of(const Experiment& experiment, const std::vector<Run>& runs) {
  std::vector<TrunkRuns> out;
  const auto root_of = [&](const Run& run) {
    const std::string& trunk = arm_of(experiment, run.arm).trunk;
    const auto is_trunk = [&](const Run& other) { return other.arm == trunk && other.seed == run.seed; };
    return !trunk.empty() && std::ranges::any_of(runs, is_trunk) ? trunk : run.arm;
  };
  for (const Run& run : runs) {
    const auto same = [&](const TrunkRuns& group) {
      return !run.tuning && !group[0].tuning && group[0].seed == run.seed && root_of(group[0]) == root_of(run);
    };
    auto group = std::ranges::find_if(out, same);
    if (group == out.end()) group = out.insert(out.end(), TrunkRuns());
    group->push_back(run);
  }
  for (TrunkRuns& group : out) {
    std::ranges::stable_sort(group, {}, [&](const Run& run) { return flops_of(experiment, run.arm); });
  }
  return out;
}

double planned_flops(const Experiment& experiment, const Run& run, const TrunkRuns& trunk) {
  const double flops = flops_of(experiment, run.arm);
  const bool branches = trunk.size() > 1 && run.arm != trunk.back().arm;
  const Json schedule = experiment.recipe.value("schedule", Json::object());
  return branches ? flops * schedule.value("decay_share", static_cast<double>(Schedule().decay_share)) : flops;
}

bool run_trunk(const Setting& setting, const TrunkRuns& runs, const std::function<bool(const Run&)>& is_kept,
               const std::function<void(const Run&, const Json&)>& keep, const std::function<bool()>& stop) {
  if (are_traces(setting.texts)) {  // nothing branches
    for (const Run& run : runs) {
      if (is_kept(run)) continue;
      if (stop()) return false;
      keep(run, run_arm(setting.experiment, run, setting.texts, setting.folder));
    }
    return true;
  }
  std::size_t needed = runs.size();  // runs up to the last that is missing
  while (needed > 0 && is_kept(runs[needed - 1])) --needed;
  std::optional<ArmRun> trunk;
  std::size_t saved = 0;  // branches that begin in files: the trunk goes on from the last of them
  while (saved < needed && std::filesystem::exists(saved_path(setting, runs[saved]))) ++saved;
  for (std::size_t i = 0; i < needed; ++i) {
    if (stop()) return false;
    const bool branches = i + 1 < runs.size();
    const std::string begin = saved_path(setting, runs[i]);
    if (i >= saved) {
      if (!trunk) {
        trunk.emplace(setting.experiment, runs.back(), setting.texts, setting.folder);
        if (saved > 0) trunk->resume(saved_path(setting, runs[saved - 1]));
      }
      const Schedule schedule = read_recipe(setting, runs[i]).schedule;
      while (branches ? !parts_here(trunk->schedule(), schedule, trunk->position()) : !trunk->done()) trunk->step();
      if (branches && !is_over(schedule, trunk->position())) trunk->save(begin);
    }
    if (is_kept(runs[i])) continue;
    if (!branches) {
      keep(runs[i], trunk->finish());
    } else if (std::filesystem::exists(begin)) {
      finish_branch(setting, runs[i], begin, keep);
    } else {  // so few steps that one leapt over its whole decay
      keep(runs[i], run_arm(setting.experiment, runs[i], setting.texts, setting.folder));
    }
  }
  for (const Run& run : runs) forget_saved(saved_path(setting, run));
  return true;
}

}  // namespace junto
