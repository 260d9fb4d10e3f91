#include "train/reproduce/run_arm.h"

#include <sys/resource.h>

#include <chrono>

#include "train/reproduce/arm_run.h"
#include "train/reproduce/run_path_arm.h"

namespace junto {

void append_point(Json& columns, const Json& point) {
  for (const auto& [name, value] : point.items()) columns[name].push_back(value);
}

std::string loss_metric_of(const Json& metrics) {
  return metrics.contains("tune_path_bits") ? "path_bits" : "bits_per_byte";
}

Json recipe_of(const Experiment& experiment, const Run& run, const std::vector<DomainText>& texts,
               const std::string& folder) {
  Json recipe = experiment.recipe;
  const Arm& arm = arm_of(experiment, run.arm);
  for (const std::string& assignment : arm.set) set_field(recipe, assignment);
  recipe["version"] = 1;
  recipe["name"] = experiment.slug + "/" + run.arm;
  recipe["seed"] = run.seed + arm.seed_offset;
  recipe["data"]["files"] = Json::array();
  for (const DomainText& text : texts) {
    if (!text.held_out) recipe["data"]["files"].push_back(text.path);
  }
  recipe["run"]["folder"] = folder;
  if (run.learning_rate > 0.0) recipe["optimizer"]["learning_rate"] = run.learning_rate;
  return recipe;
}

Json run_arm(const Experiment& experiment, const Run& run, const std::vector<DomainText>& texts,
             const std::string& folder) {
  if (are_traces(texts)) {
    Trainer trainer(parse_recipe(recipe_of(experiment, run, texts, folder), experiment.slug + "/" + run.arm));
    return run_path_arm(trainer, experiment, run, texts);
  }
  ArmRun arm(experiment, run, texts, folder);
  while (!arm.done()) arm.step();
  return arm.finish();
}

StepCost probe_arm(const Experiment& experiment, const Run& run, const std::vector<DomainText>& texts,
                   std::int64_t steps) {
  Trainer trainer(parse_recipe(recipe_of(experiment, run, texts, "/nowhere"), experiment.slug + "/" + run.arm));
  trainer.train_step();  // fresh pages, first calls
  const double before = trainer.ledger().flops;
  const auto begin = std::chrono::steady_clock::now();
  for (std::int64_t i = 0; i < steps; ++i) trainer.train_step();
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto count = static_cast<double>(steps);
  return {.flops = (trainer.ledger().flops - before) / count,
          .seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / count,
          .parameters = trainer.model().parameters().count(),
          .bytes = static_cast<std::int64_t>(usage.ru_maxrss) * 1024,
          .steps_of_run = trainer.recipe().schedule.steps};
}

}  // namespace junto
