// Checkpoints of a Trainer: the file of one process, whatever the number of those that train.
#include <ATen/ATen.h>

#include <cmath>

#include "base/error.h"
#include "format/safetensors.h"
#include "train/loop/checkpoint_tensors.h"
#include "train/loop/trainer.h"
#include "train/parallel/parted_parameters.h"

namespace junto {
namespace {

/// What must be the same for a checkpoint to go on, and what it holds: all but where it is written and how often, and
/// how many processes train it.
Json what_counts(Json recipe) {
  recipe.erase("run");
  recipe.erase("$schema");
  recipe.erase("placement");
  if (recipe.contains("stages")) {
    for (Json& stage : recipe["stages"]) stage.erase("placement");
  }
  return recipe;
}

}  // namespace

void Trainer::keep_diverged(const StepReport& report, const TokenBatch& batch) const {
  const std::string path = recipe_.run.folder + "/diverged.safetensors";
  if (exchange_.rank() == 0) {
    write_safetensors(path,
                      {stored("inputs", batch.inputs, DType::kI64), stored("targets", batch.targets, DType::kI64)},
                      {{"step", std::to_string(report.step)}});
  }
  fail(recipe_.run.folder, "step " + std::to_string(report.step) + ": loss is " + std::to_string(report.loss) +
                               ", gradient norm " + std::to_string(report.gradient_norm) + "; its batch is in " + path);
}

// All ranks gather; the first writes.
void Trainer::save(const std::string& path) const {
  FlatState whole = own_state();
  if (model_->parted()) {
    for (at::Tensor& flat : whole) {
      if (flat.defined()) flat = gathered_flat(flat, model_->parameters(), *model_->share());
    }
  }
  if (exchange_.rank() > 0) return;
  std::vector<TensorToWrite> tensors;
  for (const auto& [name, values] : state_tensors(whole)) tensors.push_back(stored(name, values));
  for (const auto& [name, values] : passes_.state()) tensors.push_back(stored(name, values));
  Json state = {{"step", step()}, {"stages", stages_}, {"not_better", not_better_}, {"ledger", to_json(ledger_)}};
  if (std::isfinite(best_validation_)) state["best_validation"] = best_validation_;
  write_safetensors(path, tensors, {{"recipe", what_counts(recipe_.json).dump()}, {"state", state.dump()}});
}

Trainer::FlatState Trainer::own_state() const {
  return {model_->parameters().values(), optimizer_.first, optimizer_.second, optimizer_.average};
}

Trainer::FlatState Trainer::empty_whole_state() const {
  const FlatLayout layout = flat_layout(model_->parameters(), model_->share()->experts());
  FlatState whole = own_state();
  for (at::Tensor& flat : whole) {
    if (flat.defined()) flat = at::zeros({layout.size}, at::kFloat);
  }
  return whole;
}

std::vector<std::pair<std::string, at::Tensor>> Trainer::state_tensors(const FlatState& state) const {
  const Parameters& parameters = model_->parameters();
  const FlatLayout layout = flat_layout(parameters, model_->share() ? model_->share()->experts() : 0);
  std::vector<std::pair<std::string, at::Tensor>> out;
  for (std::size_t p = 0; p < layout.parts.size(); ++p) {
    const FlatLayout::Part& part = layout.parts[p];
    std::vector<std::int64_t> shape = parameters.all()[p].value.sizes().vec();
    shape[0] = part.rows;
    out.emplace_back(parameters.all()[p].name, state[0].narrow(0, part.offset, part.rows * part.row_size).view(shape));
  }
  for (const RouterPlace& router : model_->routers()) {
    if (router.selection_bias.defined()) out.emplace_back(router.bias_name, router.selection_bias);
  }
  constexpr std::array<const char*, 4> kNames = {"", "optimizer.first", "optimizer.second", "optimizer.average"};
  for (std::size_t i = 1; i < state.size(); ++i) {
    if (state[i].defined()) out.emplace_back(kNames[i], state[i]);
  }
  return out;
}

void Trainer::load(const std::string& path) {
  go_on_from(path, /*other_budget=*/false);
}

void Trainer::branch_from(const std::string& path) {
  go_on_from(path, /*other_budget=*/true);
}

void Trainer::go_on_from(const std::string& path, bool other_budget) {
  const SafetensorsFile file = open_safetensors(path);
  Json recipe = parse_json(metadata_of(file, path, "recipe"), path), mine = what_counts(recipe_.json);
  for (Json* one : {&recipe, &mine}) {
    if (!other_budget) break;
    one->erase("name");
    if (one->contains("schedule")) (*one)["schedule"].erase("flops");
  }
  if (recipe != mine) {
    const Json difference = Json::diff(recipe, mine);
    fail(path, "is of another recipe, " + printable(difference[0].value("path", "")) +
                   " differs; expected the same, or another run.folder");
  }
  const Json state = parse_json(metadata_of(file, path, "state"), path);
  std::size_t stages = 0;
  try {
    optimizer_.step = state.at("step").get<std::int64_t>();
    stages = state.at("stages").get<std::size_t>();
    not_better_ = state.at("not_better").get<std::int64_t>();
    best_validation_ = state.value("best_validation", std::numeric_limits<double>::infinity());
    ledger_ = ledger_from(state.at("ledger"));
  } catch (const Json::exception&) {
    fail(path, "metadata: state is " + printable(state.dump()) + ", expected what this build of junto train writes");
  }
  // The shape of the stage that was under way; what it holds comes from the file.
  for (const Stage& stage : recipe_.stages) {
    if (stages_ < stages) enter_stage(stage.from);
  }
  const FlatState whole = model_->parted() ? empty_whole_state() : own_state();
  for (const auto& [name, values] : state_tensors(whole)) restore(file, path, name, values);
  for (const auto& [name, values] : passes_.state()) restore(file, path, name, values);
  passes_.go_on(step());
  if (!model_->parted()) return;
  const FlatState own = own_state();
  for (std::size_t i = 0; i < own.size(); ++i) {
    if (own[i].defined()) own[i].copy_(part_of_flat(whole[i], model_->parameters(), *model_->share()));
  }
}

}  // namespace junto
