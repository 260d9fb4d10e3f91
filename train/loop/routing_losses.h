// Losses of routing as a run weighs them, for whatever is trained: factors, and what each came to.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "moe/router_spec.h"
#include "train/nn/losses.h"
#include "train/nn/route.h"
#include "train/parallel/exchange.h"

namespace junto {

/// Factors of the losses of routing beside the task's own; 0: none. Each is the mean over routed layers; where adapters
/// route, over these alone while they train.
struct LossOptions {
  float balance = 0.01f;
  std::vector<float> balance_weights = {};  // [E], of the experts' terms in `balance`; empty: 1
  /// What `balance` counts: all tokens' slots, those of tokens that went to one expert (adaptive gating, Li et al.,
  /// arXiv 2310.07188), or the weights of all (DynMoLE, arXiv 2504.00661).
  enum class BalanceOf : std::uint8_t { kAll, kSingle, kWeights } balance_of = BalanceOf::kAll;
  float sequence_balance = 0.0f;  // of each sequence by itself, by shares of its slots (DeepSeek-V3)
  float z = 0.0f;
  float entropy = 0.0f;  // of the scores, positive: routers become more certain; softmax scores only
  Entropy entropy_kind = Entropy::kShannon;
  float entropy_order = 2.0f;  // of Tsallis's and Renyi's
  float importance = 0.0f;     // squared variation of the experts' summed scores
  float load = 0.0f;           // the same of their smooth counts of rows: top_k with learned noise only
  float orthogonality = 0.0f;  // of experts with weights, all of an expert's matrices taken as one vector
  float bias_rate = 0.0f;      // of loss-free balancing, for routers with a selection bias
  BiasUpdate bias_update = BiasUpdate::kSign;
  /// What becomes of the rate at update n = 1, 2...: it stays, or is divided by sqrt(n) or n (Han and Zhong, arXiv
  /// 2512.03915, take the last for its logarithmic regret).
  enum class BiasSchedule : std::uint8_t { kConstant, kInverseSqrt, kInverse } bias_schedule = BiasSchedule::kConstant;
};
/// The rate of loss-free balancing at update `n`, from 1.
double bias_rate_at(const LossOptions& losses, std::int64_t n);

/// Means over routings, before their factors.
struct RoutingLosses {
  double balance = 0.0, sequence_balance = 0.0, z = 0.0, entropy = 0.0, importance = 0.0, smooth_load = 0.0;
};

/// Routings of one batch, all by the rules of `router`.
struct RoutedBatch {
  RouterSpec router;  // as it chose, in training
  std::vector<RoutedUnits> routed;
  at::Tensor group_of_unit = {};  // [units], int64: what sequence_balance takes for itself; undefined: one group
  std::int64_t groups = 1;
};

/// `loss` plus each loss of routing times its factor, means over the routings. Adds `share` of each to `sums`.
at::Tensor add_routing_losses(at::Tensor loss, const LossOptions& losses, const RoutedBatch& batch, double share,
                              RoutingLosses& sums, Exchange& ranks);

}  // namespace junto
