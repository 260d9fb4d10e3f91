// A run from recipe to checkpoint: logs, evaluations, checkpoints, export.
#pragma once

#include <string>
#include <vector>

#include "train/loop/recipe.h"
#include "train/parallel/exchange.h"

namespace junto {

struct RunRequest {
  std::string recipe;            // a JSON file
  std::vector<std::string> set;  // "a.b=c", in order
  bool resume = false;           // go on from the last checkpoint in run.folder, or begin where there is none
  bool check = false;            // say what the run would be, and do nothing
  bool smoke = false;            // ten steps at most, in <run.folder>-smoke, begun anew
};

/// The folder gets
///   recipe.json                      as it is run
///   tokenizer.json                   where tokens are not bytes
///   log.jsonl                        a line for each logged step and each evaluation
///   events.out.tfevents.1.junto      the same for TensorBoard
///   checkpoint-<step>.safetensors    the last run.keep_checkpoints
///   model.gguf                       at the end
/// Ctrl-C ends after the step, with a checkpoint. Returns the exit status: 0, or 130 after Ctrl-C. Throws Error.
///
/// All ranks of `exchange` call it with the same request, and see the same files; rank 0 alone writes and prints.
int run_training(const RunRequest& request, Exchange& exchange = local_exchange());

/// recipe_schema() to standard output, as recipes/recipe.schema.json holds it. Returns 0.
int print_recipe_schema();

}  // namespace junto
