// A task: what is learnt, of whatever kind, and the one step by which all of them are. Language modelling is one
// (trainer.h); others bring data, a model and a loss (examples/) and train with TaskTrainer (task_trainer.h).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "train/loop/ledger.h"
#include "train/loop/optimizer.h"
#include "train/loop/routing_losses.h"
#include "train/nn/moe_layer.h"
#include "train/nn/parameters.h"
#include "train/parallel/exchange.h"

namespace junto {

/// Of one step, of all processes; losses are means over the parts of its batch.
struct StepReport : RoutingLosses {
  std::int64_t step = 0;  // updates done, this one included
  double loss = 0.0;      // the task's own: cross entropy in nats a token
  double orthogonality = 0.0;
  double gradient_norm = 0.0;  // before clipping
  double learning_rate = 0.0;
  double busiest = 0.0;  // mean over routers: rows of the busiest expert / mean rows of an expert
  double idle = 0.0;     // mean over routers: share of experts without rows
  Ledger work = {};      // what the step executed
  // Of the processor: the step, its feed-forward networks of all kinds, norm of the gradients and update.
  double seconds = 0.0, expert_seconds = 0.0, update_seconds = 0.0;
  std::vector<std::vector<double>> load = {};  // [routers][experts]: rows
  double adapter_experts = 0.0;                // of routed adapters, mean over layers: experts that a row takes
  double adapter_all = 0.0;                    // and share of rows that take all
};

/// What a task computes of one part of a batch.
struct TaskLoss {
  at::Tensor loss;     // scalar under autograd: the mean over the part's units
  RoutedBatch routed;  // of all its routings
  Ledger work;         // of forward and backward
  /// Rows that each expert was asked for, [E] of each routing; empty: those of `routed`. With several processes those
  /// of all.
  std::vector<at::Tensor> load = {};
};

class Task {
 public:
  virtual ~Task() = default;

  virtual Parameters& parameters() = 0;
  /// Loss of part `part` of the batch of a step. The same for the same step, part and parameters, so that a run that
  /// goes on from a checkpoint is the run that was not interrupted.
  virtual TaskLoss compute(std::int64_t step, std::int64_t part) = 0;
  /// Of the finished model on what it does not learn from, by name.
  virtual std::map<std::string, double> evaluate() { return {}; }

  /// Routers and where their plans stand among a part's routings; empty: each routing has its own, without a bias.
  virtual std::vector<RouterPlace> routers() const { return {}; }
  /// When all parts' gradients are there, before their norm is taken: sums over processes, losses of the weights
  /// themselves.
  virtual void complete_gradients(StepReport& /*report*/) {}
  virtual double norm_of_gradients() { return gradient_norm(parameters()); }
  /// Loss or norm are not finite. Throws Error; may keep what the step read.
  [[noreturn]] virtual void diverged(const StepReport& report);
};

struct StepOptions {
  LossOptions losses;
  OptimizerOptions optimizer;
  double learning_rate = 1e-3;
  std::int64_t parts = 1;         // of a batch: their gradients are added up
  std::vector<bool> frozen = {};  // by parameter; empty: none
  Exchange& ranks = local_exchange();
};

/// One update: losses of all parts and their gradients, norm, clipping, the optimiser, biases of loss-free balancing.
StepReport run_step(Task& task, Optimizer& state, const StepOptions& options);

}  // namespace junto
