// A recipe: all that a training run is, as JSON. Every field but those marked has a default.
//
//   {"$schema": "recipe.schema.json",           for editors
//    "version": 1, "name": "tiny", "seed": 1,
//    "model": {...},                             nn/language_model.h       (required)
//             {"checkpoint": "smollm2"}            or a checkpoint's shape and values: loop/import.h
//    "adapters": {"rank": 8, "targets": [...]},  nn/linear_adapter.h; they are model.adapters
//    "data": {"files": [...], ...},              data/token_text.h          (required)
//    "batch": {"sequences": 8, "length": 128, "micro_batches": 1, "order": {...}},   data/sequence_order.h
//    "placement": {"data": 1, "experts": 2},     parallel/expert_share.h
//    "losses": {"balance": 0.01, "z": 0.001, "entropy": 0.0, "bias_rate": 0.0},
//    "optimizer": {"learning_rate": 0.001, ...}, loop/optimizer.h
//    "schedule": {"kind": "cosine", ...},        loop/schedule.h
//    "stages": [{"from": 0.5, ...}, ...],        loop/stages.h
//    "ramps": {"losses.balance": [[0, 0.01], [0.5, 0]]},   fields of losses, optimizer and router_training
//    "run": {"folder": "runs/tiny", ...}}                                  (folder required)
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "train/data/sequence_order.h"
#include "train/data/token_text.h"
#include "train/loop/optimizer.h"
#include "train/loop/routing_losses.h"
#include "train/loop/schedule.h"
#include "train/loop/stages.h"
#include "train/nn/language_model.h"

namespace junto {

struct BatchOptions {
  std::int64_t sequences = 8;
  std::int64_t length = 128;
  std::int64_t micro_batches = 1;      // a divisor of sequences: gradients of that many parts are added up
  bool recompute_activations = false;  // keeps a block's input alone until backward, which computes the rest again
  SequenceOrder order;
};

struct RunOptions {
  std::string folder;
  std::int64_t log_every = 10;
  std::int64_t evaluate_every = 100;    // and after the last step; 0: never
  std::int64_t evaluate_spans = 64;     // of batch.length tokens, the same ones each time
  std::int64_t checkpoint_every = 100;  // and after the last step
  std::int64_t keep_checkpoints = 2;
  bool huggingface = false;  // writes a Hugging Face directory too, at the end
  bool tensorboard = true;   // writes events.out.tfevents.<...>
};

struct Recipe {
  std::string name;
  std::uint64_t seed = 0;
  LanguageModelShape model;
  std::string checkpoint;  // whose values the run begins with; empty: values drawn from `seed`
  TokenTextOptions data;
  BatchOptions batch;
  PlacementGrid placement;  // of processes
  LossOptions losses;
  OptimizerOptions optimizer;
  Schedule schedule;
  std::vector<Stage> stages;
  std::vector<Ramp> ramps;
  RunOptions run;
  Json json;  // as it was read, with what was set
};

/// The numbers that ramps move, where the run is.
struct Scalars {
  LossOptions losses;
  OptimizerOptions optimizer;
  RouterTraining router_training;  // of the stage there
};
Scalars scalars_at(const Recipe& recipe, double share);

/// Throws Error naming `where`, the field, what is there and what is allowed.
Recipe parse_recipe(const Json& json, std::string_view where);

/// The JSON Schema of recipes, made by parse_recipe() itself: what it refuses, parse_recipe() refuses too. What
/// fields must be together, the schema does not say.
OrderedJson recipe_schema();

/// "a.b=c": the value at a.b becomes c, read as JSON or, where it is none, as text. Objects on the way are made.
void set_field(Json& recipe, std::string_view assignment);

}  // namespace junto
