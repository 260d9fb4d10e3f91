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

/// `field` asks for experts in parts.
void check_parted_experts(const Recipe& recipe, const PlacementGrid& grid, const std::string& field) {
  const auto refuse = [&](bool wrong, const std::string& found, const std::string& expected) {
    if (wrong) fail("recipe", found + ", expected " + expected + " with " + field + ".experts above 1");
  };
  const int experts = recipe.model.routes() ? recipe.model.weighted_experts() : 0;
  refuse(grid.experts > experts, field + ".experts is " + std::to_string(grid.experts),
         "at most " + std::to_string(experts) + ", the experts with weights of a layer,");
  refuse(recipe.optimizer.kind == OptimizerOptions::Kind::kAdafactor, "optimizer.kind is adafactor", "another");
  bool orthogonal = recipe.losses.orthogonality != 0.0f;
  for (const Ramp& ramp : recipe.ramps) orthogonal |= ramp.field == "losses.orthogonality";
  refuse(orthogonal, "losses.orthogonality is set", "0");
  for (std::size_t i = 0; i < recipe.stages.size(); ++i) {
    refuse(recipe.stages[i].experts > recipe.model.router.experts, "stages[" + std::to_string(i) + "].experts is set",
           "no growth");
  }
}

}  // namespace

PlacementGrid check_parts(const Recipe& recipe, int ranks) {
  const PlacementGrid begin = fitted(recipe.placement, ranks, "placement");
  if (begin.experts > 1) check_parted_experts(recipe, begin, "placement");
  for (std::size_t i = 0; i < recipe.stages.size(); ++i) {
    if (!recipe.stages[i].placement) continue;
    const std::string field = "stages[" + std::to_string(i) + "].placement";
    const PlacementGrid grid = fitted(*recipe.stages[i].placement, ranks, field);
    if (grid.experts > 1) check_parted_experts(recipe, grid, field);
  }
  if (ranks == 1) return begin;
  const std::string processes = " with " + std::to_string(ranks) + " processes";
  const std::int64_t part = recipe.batch.sequences / recipe.batch.micro_batches;
  if (part % ranks != 0) {
    fail("recipe", "batch.sequences is " + std::to_string(recipe.batch.sequences) + " in " +
                       std::to_string(recipe.batch.micro_batches) + " micro-batches, expected a multiple of " +
                       std::to_string(ranks) + " in each" + processes);
  }
  if (!recipe.model.routes()) return begin;
  check_units_do_not_compete(recipe.model.router, recipe.model.router_training, "model.", processes);
  for (std::size_t i = 0; i < recipe.stages.size(); ++i) {
    const StageState now = stage_at(recipe.stages, recipe.model, recipe.stages[i].from);
    check_units_do_not_compete(now.router, now.router_training, "stages[" + std::to_string(i) + "].", processes);
  }
  return begin;
}

}  // namespace junto
