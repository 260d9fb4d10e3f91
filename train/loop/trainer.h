// One training run: model, optimiser, data and counts, step by step. All of its state is parameters, moments, their
// average, selection biases, counts and, where sequences are ordered by their routing, the order and the counts that it
// follows from: else the batch of a step follows from the seed and the step's number, stages and ramps from the ledger,
// so a run that goes on from a checkpoint is, to the bit, the run that was not interrupted (with the same number of
// threads on the same machine).
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "train/data/token_text.h"
#include "train/loop/ledger.h"
#include "train/loop/optimizer.h"
#include "train/loop/recipe.h"
#include "train/loop/task.h"
#include "train/nn/language_model.h"
#include "train/parallel/exchange.h"

namespace junto {

class Trainer {
 public:
  /// One of as many processes as `exchange` has ranks, which all make one and call the same of what is not const: each
  /// computes a part of every micro-batch. Throws Error where the recipe asks for what cannot be parted
  /// (recipe_parts.h). `exchange` must outlive it.
  explicit Trainer(Recipe recipe, Exchange& exchange = local_exchange());

  /// Throws Error where loss or gradients are not finite; the step's batch is then in <folder>/diverged.safetensors.
  StepReport train_step();
  /// What the next step reads, of all processes together.
  TokenBatch next_batch();
  /// Cross entropy over the first spans of the validation text, nats a token; of the average of the weights, where one
  /// is kept.
  double evaluate();
  /// Counts an evaluation for schedule.patience: the run is done where too many in turn were no better.
  void note_validation(double loss);
  /// Writes the model, with the average of the weights where one is kept: <folder>/model.gguf, and with
  /// run.huggingface <folder>/huggingface; adapters apart from it, <folder>/adapter. A checkpoint that only adapters
  /// were trained over is not written again. Rank 0 writes.
  void export_model(const std::string& folder);

  /// Complete or not at all. Rank 0 writes: the file is that of one process.
  void save(const std::string& path) const;
  /// Throws Error where the checkpoint is of another recipe.
  void load(const std::string& path);
  /// The same of a checkpoint of a run whose recipe differs from this one's in name and schedule.flops alone.
  void branch_from(const std::string& path);

  Exchange& exchange() const { return exchange_; }
  const Recipe& recipe() const { return recipe_; }
  const LanguageModel& model() const { return *model_; }
  const TokenText& text() const { return text_; }
  const Ledger& ledger() const { return ledger_; }
  const PlacementGrid& placement() const { return grid_; }
  /// Bytes of weights, gradients, moments and average: what training holds between two steps, in this process.
  std::int64_t state_bytes() const;
  std::int64_t step() const { return optimizer_.step; }
  RunPosition position() const { return {step(), ledger_.flops}; }
  double share_done() const { return junto::share_done(recipe_.schedule, position()); }
  bool stopped_early() const { return recipe_.schedule.patience > 0 && not_better_ >= recipe_.schedule.patience; }
  bool done() const { return is_over(recipe_.schedule, position()) || stopped_early(); }

 private:
  /// Language modelling as a task of one step (trainer.cc).
  class LanguageTask;
  void go_on_from(const std::string& path, bool other_budget);
  [[noreturn]] void keep_diverged(const StepReport& report, const TokenBatch& batch) const;
  std::shared_ptr<const ExpertShare> share_of(const PlacementGrid& grid, const LanguageModelShape& shape) const;
  /// Values, moments and average; undefined where there are none.
  using FlatState = std::array<at::Tensor, 4>;
  FlatState own_state() const;
  FlatState empty_whole_state() const;
  std::vector<std::pair<std::string, at::Tensor>> state_tensors(const FlatState& state) const;
  void enter_stage(double share);
  void freeze(const std::vector<std::string>& patterns);
  /// Whether adapters train now, and nothing else does.
  bool adapting() const { return adapting_.value_or(false); }

  Exchange& exchange_;
  TokenText text_;
  Recipe recipe_;
  PlacementGrid grid_;
  SequencePasses passes_;
  std::unique_ptr<LanguageModel> model_;
  Optimizer optimizer_;
  Ledger ledger_;
  StageClock expert_clock_;
  std::size_t stages_ = 0;        // begun
  std::optional<bool> adapting_;  // nothing before the first step
  std::vector<bool> frozen_;      // by parameter; empty: none
  double best_validation_ = std::numeric_limits<double>::infinity();
  std::int64_t not_better_ = 0;  // evaluations since the best one
};

}  // namespace junto
