// Losses of routing, scalars under autograd, and the bias that needs none. All take [units, E] tensors as
// route_under_autograd() gives them and know nothing of tokens; `counted` [units] (1 or 0; undefined: all) says which
// units count (padding does not). Where a batch is parted among processes and a loss is not the mean of its parts', it
// takes `ranks`: the units are then those of all, and the loss is the same on each (train/parallel/total_of_ranks.h).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "moe/route_plan.h"
#include "moe/router_spec.h"
#include "train/parallel/exchange.h"

namespace junto {

/// What the share of an expert is a share of.
enum class LoadShare : std::uint8_t {
  kOfUnits,  // f_e = slots of e / units: adds up to the mean k (Mixtral, OLMoE)
  kOfSlots,  // f_e = slots of e / slots: adds up to 1, whatever k (Switch with k = 1; plans of variable k)
};

/// E * sum over e of f_e * P_e, P_e the mean of `scores` over the counted units: least where the load is even (Fedus et
/// al., arXiv 2101.03961, eq. 4; Lepikhin et al., arXiv 2006.16668). Gradient through P alone. `expert_weights` [E]
/// (undefined: 1) weighs the terms. `scores` rows add up to 1 for this to be a balance: softmax, or normalised
/// sigmoids.
at::Tensor balance_loss(const at::Tensor& scores, const RoutePlan& plan, LoadShare share = LoadShare::kOfUnits,
                        const at::Tensor& counted = {}, const at::Tensor& expert_weights = {},
                        Exchange* ranks = nullptr);

/// The same where only units of one expert are held to balance: f_e is the share of them that chose e, and 0 where
/// there are none; P_e is over all counted units (adaptive gating, Li et al., arXiv 2310.07188).
at::Tensor single_expert_balance_loss(const at::Tensor& scores, const RoutePlan& plan, const at::Tensor& counted = {},
                                      Exchange* ranks = nullptr);

/// E * sum over e of the mean over units of the weight that e has, and of `scores`: both factors have gradients
/// (DynMoLE, arXiv 2504.00661). weights [slots], of `plan`.
at::Tensor weight_balance_loss(const at::Tensor& scores, const at::Tensor& weights, const RoutePlan& plan,
                               const at::Tensor& counted = {}, Exchange* ranks = nullptr);

/// The same for each sequence by itself, averaged over the sequences that have counted units (DeepSeek-V3, arXiv
/// 2412.19437, eq. 17). `sequence_of_unit` [units], int64, 0 .. sequences - 1.
at::Tensor sequence_balance_loss(const at::Tensor& scores, const RoutePlan& plan, const at::Tensor& sequence_of_unit,
                                 std::int64_t sequences, LoadShare share = LoadShare::kOfUnits,
                                 const at::Tensor& counted = {});

/// Mean over units of (log sum exp of logits)^2 (Zoph et al., arXiv 2202.08906, eq. 5). Units without candidates do not
/// count.
at::Tensor z_loss(const at::Tensor& logits, const at::Tensor& counted = {});

/// Mean over units of the entropy of `probabilities` (rows add up to 1), in nats. order > 0; order 1 is Shannon's for
/// all.
at::Tensor router_entropy(const at::Tensor& probabilities, Entropy kind = Entropy::kShannon, double order = 2.0,
                          const at::Tensor& counted = {});

/// Mean over units of the entropy of `probabilities` + eps as a share of the largest that so many experts can have:
/// what EntropyOverride measures, where all experts are candidates.
at::Tensor relative_router_entropy(const at::Tensor& probabilities, Entropy kind, double order, double eps,
                                   const at::Tensor& counted = {});

/// Mean over pairs of experts of the squared cosine between their weights: 0 where they are orthogonal. experts
/// [E, ...], at least two.
at::Tensor orthogonality_loss(const at::Tensor& experts);

/// Squared coefficient of variation of the experts' summed `scores`: population variance / mean^2 (Shazeer et al.,
/// arXiv 1701.06538, eq. 6 and 7).
at::Tensor importance_loss(const at::Tensor& scores, const at::Tensor& counted = {}, Exchange* ranks = nullptr);

/// The same of a smooth count of rows: the sum over units of the probability that the expert is among the k best when
/// its noise is drawn anew (Shazeer et al., appendix A). All [units, E]: `clean` logits, `noisy` ones that selected,
/// `deviation` of the noise. 0 < k < E.
at::Tensor load_loss(const at::Tensor& clean, const at::Tensor& noisy, const at::Tensor& deviation, int k,
                     const at::Tensor& counted = {}, Exchange* ranks = nullptr);

/// Loss-free balancing: after a step `bias` [E] goes up by `rate` for experts of less than the mean load and down for
/// those of more (Wang et al., arXiv 2408.15664, algorithm 1), or in proportion to the distance, as a share of the mean
/// load. `load` [E]: rows in the step. A step without rows changes nothing.
enum class BiasUpdate : std::uint8_t { kSign, kProportional };
void update_selection_bias(at::Tensor& bias, const at::Tensor& load, double rate, BiasUpdate kind = BiasUpdate::kSign);

}  // namespace junto
