// The trainer of any task: optimiser, schedule, budget, average and checkpoints around run_step(). What `junto train`
// does with recipes of language models (trainer.h), for models that are no language models.
#pragma once

#include <map>
#include <string>

#include "train/loop/schedule.h"
#include "train/loop/task.h"

namespace junto {

struct TaskRun {
  std::string name = "task";  // a checkpoint goes on under the same name only
  LossOptions losses;
  OptimizerOptions optimizer;
  Schedule schedule;
  std::int64_t parts = 1;  // of a batch: their gradients are added up
};

class TaskTrainer {
 public:
  /// `task` must outlive it.
  TaskTrainer(Task& task, TaskRun run);

  /// Throws Error where loss or gradients are not finite.
  StepReport train_step();
  /// Of the average of the weights, where one is kept.
  std::map<std::string, double> evaluate();

  /// Parameters, moments, average, selection biases and counts: a run that goes on is the one that was not interrupted.
  /// Complete or not at all.
  void save(const std::string& path) const;
  /// Throws Error where the checkpoint is of another task or of other parameters.
  void load(const std::string& path);

  const Ledger& ledger() const { return ledger_; }
  std::int64_t step() const { return optimizer_.step; }
  double share_done() const { return junto::share_done(run_.schedule, {step(), ledger_.flops}); }
  bool done() const { return is_over(run_.schedule, {step(), ledger_.flops}); }

 private:
  std::vector<std::pair<std::string, at::Tensor>> state() const;

  Task& task_;
  TaskRun run_;
  Optimizer optimizer_;
  Ledger ledger_;
};

}  // namespace junto
