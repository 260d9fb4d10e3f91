// One (arm, seed) of an experiment, trained and measured.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "analyze/experiment.h"
#include "train/reproduce/texts.h"

namespace junto {

/// What is to run. A tuning run has a learning rate of the grid and never reads the text to test.
struct Run {
  std::string arm;
  std::int64_t seed = 0;  // of the pair: the arm's seed_offset comes on top
  bool tuning = false;
  double learning_rate = 0.0;  // 0: the recipe's
};

/// The recipe that a run trains: data.files of the texts, seed, learning rate and the arm's fields in it. `folder`
/// takes what a run that diverges leaves.
Json recipe_of(const Experiment& experiment, const Run& run, const std::vector<DomainText>& texts,
               const std::string& folder);

/// Trains and measures. The row:
///   arm, seed, tuning, learning_rate, parameters, tokens, flops, work (by kind), expert_rows, seconds
///   own_flops  what was executed for this row alone: less than flops where it branched from another run
///   step_seconds, expert_step_seconds   of the processor, of an update: all of it, its feed-forward networks
///   curve     {step: [...], loss: [...], tokens, flops, experts_per_token, max_violation, ...}, every log_every steps
///   tune      {step, flops, loss, bits_per_byte, churn, expert_cosine}, every evaluate_every steps; both end after the
///             last step. churn: share of the text's tokens whose best expert is not what it was at the point before
///   metrics   {bits_per_byte, bits_per_byte.<domain>, max_violation, ...}; of the text to test unless tuning
///             with `corruption`: corrupted_bits_per_byte, and corruption_bits, what of it is more than bits_per_byte:
///             the logarithm to base 2 of the ratio of the two perplexities
///             with `devices`: measure_devices.h, and training_device_rows and training_device_wait, which are the
///             same of all updates, as their batches came
///   layers    [{experts_per_token, load}], of each routing
///   token_loss, token_experts    of the first test tokens of each domain
/// Of an experiment with traces, whose model predicts paths (measure_paths.h), instead of bits_per_byte and routing:
/// path_bits (of a token, all experts), recall, both .<domain> too, of the texts to test that are trained on; recall of
/// guesses that nothing is trained for as untrained.<name>, what recall is more than that as over.<name>; of held-out
/// texts recall.held_out, over.<name>.held_out, and recall_lost, by which it is less than recall.
Json run_arm(const Experiment& experiment, const Run& run, const std::vector<DomainText>& texts,
             const std::string& folder);

/// Of a row's columns, curve or tune: a point more in each.
void append_point(Json& columns, const Json& point);

/// What a run is tuned by, and drawn: path_bits where `metrics` of a row are of paths, else bits_per_byte.
std::string loss_metric_of(const Json& metrics);

/// Executed FLOP and seconds of a step, from `steps` steps that are then forgotten, and bytes of the process's peak.
struct StepCost {
  double flops = 0.0, seconds = 0.0;
  std::int64_t parameters = 0, bytes = 0, steps_of_run = 0;
};
StepCost probe_arm(const Experiment& experiment, const Run& run, const std::vector<DomainText>& texts,
                   std::int64_t steps);

}  // namespace junto
