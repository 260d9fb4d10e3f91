#include "train/loop/task_trainer.h"

#include <ATen/ATen.h>

#include <utility>

#include "base/error.h"
#include "train/loop/checkpoint_tensors.h"

namespace junto {

TaskTrainer::TaskTrainer(Task& task, TaskRun run)
    : task_(task), run_(std::move(run)), optimizer_(run_.optimizer, task.parameters()) {}

StepReport TaskTrainer::train_step() {
  StepReport report = run_step(task_, optimizer_,
                               {.losses = run_.losses,
                                .optimizer = run_.optimizer,
                                .learning_rate = static_cast<double>(run_.optimizer.learning_rate) *
                                                 learning_rate_share(run_.schedule, {step(), ledger_.flops}),
                                .parts = run_.parts});
  ledger_ += report.work;
  return report;
}

std::map<std::string, double> TaskTrainer::evaluate() {
  at::NoGradGuard guard;
  swap_average(optimizer_, task_.parameters());
  std::map<std::string, double> found = task_.evaluate();
  swap_average(optimizer_, task_.parameters());
  return found;
}

std::vector<std::pair<std::string, at::Tensor>> TaskTrainer::state() const {
  std::vector<std::pair<std::string, at::Tensor>> out;
  for (const Parameter& parameter : task_.parameters().all()) out.emplace_back(parameter.name, parameter.value);
  for (const RouterPlace& router : task_.routers()) {
    if (router.selection_bias.defined()) out.emplace_back(router.bias_name, router.selection_bias);
  }
  if (optimizer_.first.defined()) out.emplace_back("optimizer.first", optimizer_.first);
  if (optimizer_.second.defined()) out.emplace_back("optimizer.second", optimizer_.second);
  if (optimizer_.average.defined()) out.emplace_back("optimizer.average", optimizer_.average);
  return out;
}

void TaskTrainer::save(const std::string& path) const {
  std::vector<TensorToWrite> tensors;
  for (const auto& [name, values] : state()) tensors.push_back(stored(name, values));
  const Json counts = {{"step", step()}, {"ledger", to_json(ledger_)}};
  write_safetensors(path, tensors, {{"task", run_.name}, {"state", counts.dump()}});
}

void TaskTrainer::load(const std::string& path) {
  const SafetensorsFile file = open_safetensors(path);
  if (const std::string task = metadata_of(file, path, "task"); task != run_.name)
    fail(path, "is of task " + printable(task) + ", expected " + printable(run_.name));
  const Json counts = parse_json(metadata_of(file, path, "state"), path);
  try {
    optimizer_.step = counts.at("step").get<std::int64_t>();
    ledger_ = ledger_from(counts.at("ledger"));
  } catch (const Json::exception&) {
    fail(path, "metadata: state is " + printable(counts.dump()) + ", expected step and ledger");
  }
  for (const auto& [name, values] : state()) restore(file, path, name, values);
}

}  // namespace junto
