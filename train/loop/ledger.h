// The ledger of executed work: what arms of an experiment share a budget of, and curves are drawn over.
#pragma once

#include <cstdint>

#include "base/json.h"
#include "train/loop/optimizer.h"
#include "train/nn/language_model.h"

namespace junto {

/// Floating-point operations by kind: of matrix products forward and backward (three times forward), of losses and the
/// optimiser the arithmetic of their passes.
struct Work {
  double attention = 0.0;  // projections, scores and mixing
  double router = 0.0;
  double experts = 0.0;  // of the rows that they were given
  double dense = 0.0;    // feed-forward networks that all tokens go through: dense layers, shared experts
  double head = 0.0;
  double losses = 0.0;  // cross entropy, losses of routing
  double optimizer = 0.0;

  double sum() const { return attention + router + experts + dense + head + losses + optimizer; }
};
Json to_json(const Work& work);

/// Executed work, of a step or since the first.
struct Ledger {
  std::int64_t tokens = 0;
  std::int64_t expert_rows = 0;  // evaluations: (token, routed layer, expert)
  double flops = 0.0;            // the sum of `work`
  double bytes = 0.0;            // of parameters, gradients and moments that were read or written; idle experts are not
  Work work;

  Ledger& operator+=(const Ledger& other);
};
Json to_json(const Ledger& ledger);
/// Throws Json::exception where something is missing.
Ledger ledger_from(const Json& json);

/// What forward and backward of `tokens` tokens in sequences of `length` cost. `expert_rows` over all layers;
/// `busy_experts` of them were given rows. `recomputed`: blocks run twice forward (LanguageModel::Activations).
/// `adapting`: adapters are computed and train; of matrices under them, experts' apart, no gradients are made. Their
/// pairs are counted as experts, all of them, but not in `expert_rows`.
Ledger work_of_batch(const LanguageModelShape& shape, std::int64_t tokens, std::int64_t length,
                     std::int64_t expert_rows, std::int64_t busy_experts, bool recomputed = false,
                     bool adapting = false);
/// Of losses.orthogonality in one step, which does not depend on the batch.
Ledger work_of_orthogonality(const LanguageModelShape& shape);
/// What an update of `parameters` values costs.
Ledger work_of_update(const OptimizerOptions& options, std::int64_t parameters);

}  // namespace junto
