#include "train/loop/recipe_parts.h"

#include <string>

#include "base/error.h"

namespace junto {
namespace {

/// A rank would choose among its own units alone.
void check_units_do_not_compete(const RouterSpec& router, const RouterTraining& training, const std::string& where,
                                const std::string& processes) {
  const auto by_experts = [](const SelectRule& rule) { return std::holds_alternative<ExpertChoice>(rule); };
  const auto refuse = [&](bool wrong, const std::string& field) {
    if (wrong) fail("recipe", where + field + ", by which the units of a batch compete; expected it not" + processes);
  };
  refuse(router.prune.has_value(), "router.prune is set");
  refuse(by_experts(router.select), "router.select is expert_choice");
  refuse(training.select && by_experts(*training.select), "router_training.select is expert_choice");
  refuse(training.balanced, "router_training.balanced is true");
}

}  // namespace

void check_parts(const Recipe& recipe, int ranks) {
  if (ranks == 1) return;
  const std::string processes = " with " + std::to_string(ranks) + " processes";
  const std::int64_t part = recipe.batch.sequences / recipe.batch.micro_batches;
  if (part % ranks != 0) {
    fail("recipe", "batch.sequences is " + std::to_string(recipe.batch.sequences) + " in " +
                       std::to_string(recipe.batch.micro_batches) + " micro-batches, expected a multiple of " +
                       std::to_string(ranks) + " in each" + processes);
  }
  if (recipe.model.dense_layers == recipe.model.layers) return;
  check_units_do_not_compete(recipe.model.router, recipe.model.router_training, "model.", processes);
  for (std::size_t i = 0; i < recipe.stages.size(); ++i) {
    const StageState now = stage_at(recipe.stages, recipe.model, recipe.stages[i].from);
    check_units_do_not_compete(now.router, now.router_training, "stages[" + std::to_string(i) + "].", processes);
  }
}

}  // namespace junto
