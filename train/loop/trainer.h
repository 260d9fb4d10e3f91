// One training run: model, optimiser, data and counts, step by step. All of its state is parameters, moments, selection
// biases and counts: the batch of a step follows from the seed and the step's number, so a run that goes on from a
// checkpoint is, to the bit, the run that was not interrupted (with the same number of threads on the same machine).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "train/data/token_text.h"
#include "train/loop/adamw.h"
#include "train/loop/recipe.h"
#include "train/nn/language_model.h"

namespace junto {

/// Executed work since the first step.
struct Ledger {
  std::int64_t tokens = 0;
  std::int64_t expert_rows = 0;  // (token, routed layer, expert)
  double flops = 0.0;            // of matrix products, forward and backward (three times forward)
};

/// Of one step; losses are means over its micro-batches.
struct StepReport {
  std::int64_t step = 0;  // updates done, this one included
  double loss = 0.0;      // cross entropy, nats a token
  double balance = 0.0, z = 0.0, entropy = 0.0;
  double gradient_norm = 0.0;  // before clipping
  double learning_rate = 0.0;
  double busiest = 0.0;  // mean over routed layers: rows of the busiest expert / mean rows of an expert
  double idle = 0.0;     // mean over routed layers: share of experts without rows
};

class Trainer {
 public:
  explicit Trainer(Recipe recipe);

  /// Throws Error where loss or gradients are not finite; the step's batch is then in <folder>/diverged.safetensors.
  StepReport train_step();
  /// Cross entropy over the first spans of the validation text, nats a token.
  double evaluate();

  /// Complete or not at all.
  void save(const std::string& path) const;
  /// Throws Error where the checkpoint is of another recipe.
  void load(const std::string& path);

  const Recipe& recipe() const { return recipe_; }
  const LanguageModel& model() const { return model_; }
  const TokenText& text() const { return text_; }
  const Ledger& ledger() const { return ledger_; }
  std::int64_t step() const { return optimizer_.step; }
  bool done() const { return step() >= recipe_.schedule.steps; }

 private:
  void add_micro_batch(const TokenBatch& batch, StepReport& report, std::vector<at::Tensor>& load);
  void count(std::int64_t sequences, std::int64_t length, std::int64_t expert_rows);

  TokenText text_;
  Recipe recipe_;
  LanguageModel model_;
  AdamW optimizer_;
  Ledger ledger_;
};

}  // namespace junto
