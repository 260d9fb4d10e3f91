#include "train/loop/routing_losses.h"

#include <ATen/ATen.h>

#include <cmath>
#include <variant>

namespace junto {
namespace {

/// Scores whose rows add up to 1, as losses of balance take them.
at::Tensor shares_of_scores(const RouterSpec& router, const RoutedUnits& routed) {
  if (router.score != Score::kSigmoid) return routed.scores;
  return routed.scores / routed.scores.sum(1, true).clamp_min(1e-20);
}

at::Tensor balance_of_routing(const LossOptions& losses, const RouterSpec& router, const RoutedUnits& routed,
                              Exchange& ranks) {
  const at::Tensor scores = shares_of_scores(router, routed);
  if (losses.balance_of == LossOptions::BalanceOf::kSingle)
    return single_expert_balance_loss(scores, routed.asked(), {}, &ranks);
  if (losses.balance_of == LossOptions::BalanceOf::kWeights)
    return weight_balance_loss(scores, routed.weights, routed.plan, {}, &ranks);
  at::Tensor weights;
  if (!losses.balance_weights.empty()) weights = at::tensor(losses.balance_weights);
  return balance_loss(scores, routed.asked(), LoadShare::kOfUnits, {}, weights, &ranks);
}

at::Tensor sequence_balance_of(const RoutedBatch& batch, const RoutedUnits& routed) {
  at::Tensor group = batch.group_of_unit;
  if (!group.defined()) group = at::zeros({routed.plan.units()}, at::kLong);
  return sequence_balance_loss(shares_of_scores(batch.router, routed), routed.asked(), group, batch.groups,
                               LoadShare::kOfSlots);
}

}  // namespace

double bias_rate_at(const LossOptions& losses, std::int64_t n) {
  const double rate = losses.bias_rate, updates = static_cast<double>(n);
  if (losses.bias_schedule == LossOptions::BiasSchedule::kInverseSqrt) return rate / std::sqrt(updates);
  return losses.bias_schedule == LossOptions::BiasSchedule::kInverse ? rate / updates : rate;
}

at::Tensor add_routing_losses(at::Tensor loss, const LossOptions& losses, const RoutedBatch& batch, double share,
                              RoutingLosses& sums, Exchange& ranks) {
  const double of_routing = batch.routed.empty() ? 0.0 : 1.0 / static_cast<double>(batch.routed.size());
  const auto add = [&](const at::Tensor& term, double factor, double& sum) {
    loss = loss + term * (factor * of_routing);
    sum += term.item<double>() * share * of_routing;
  };
  for (const RoutedUnits& routed : batch.routed) {
    if (losses.balance != 0.0f)
      add(balance_of_routing(losses, batch.router, routed, ranks), losses.balance, sums.balance);
    if (losses.sequence_balance != 0.0f)
      add(sequence_balance_of(batch, routed), losses.sequence_balance, sums.sequence_balance);
    if (losses.z != 0.0f) add(z_loss(routed.logits), losses.z, sums.z);
    if (losses.entropy != 0.0f)
      add(router_entropy(routed.scores, losses.entropy_kind, losses.entropy_order), losses.entropy, sums.entropy);
    if (losses.importance != 0.0f) add(importance_loss(routed.scores, {}, &ranks), losses.importance, sums.importance);
    if (losses.load != 0.0f) {
      const int k = std::get<TopK>(batch.router.select).k;
      add(load_loss(routed.clean_logits, routed.logits, routed.deviation, k, {}, &ranks), losses.load,
          sums.smooth_load);
    }
  }
  return loss;
}

}  // namespace junto
