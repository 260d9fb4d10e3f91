#include "train/nn/losses.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>

#include "train/nn/route.h"
#include "train/parallel/total_of_ranks.h"

namespace junto {
namespace {

constexpr double kNone = -std::numeric_limits<double>::infinity();

/// `counted` in the type of `like`, ones where it is undefined.
at::Tensor counts(const at::Tensor& counted, const at::Tensor& like) {
  const auto options = like.options().requires_grad(false);
  if (!counted.defined()) return at::ones({like.size(0)}, options);
  TORCH_CHECK(counted.dim() == 1 && counted.size(0) == like.size(0), "losses: counted is ", counted.sizes(),
              ", expected [", like.size(0), "]");
  return counted.detach().to(like.scalar_type());
}

/// Mean of `values` [units] over the counted units; 0 where there are none.
at::Tensor mean_of_counted(const at::Tensor& values, const at::Tensor& count) {
  return (values * count).sum() / count.sum().clamp_min(1.0);
}

at::Tensor squared_variation(const at::Tensor& values) {
  const at::Tensor mean = values.mean();
  return (values - mean).square().mean() / mean.square().clamp_min(1e-30);
}

/// Slots of each (group of units, expert), [groups, E], slots of units that do not count left out.
at::Tensor slots_of(const RoutePlan& plan, const at::Tensor& scores, const at::Tensor& count,
                    const at::Tensor& group_of_unit, std::int64_t groups) {
  const at::Tensor unit = units_of_slots(plan), expert = experts_of_slots(plan);
  at::Tensor place = expert;
  if (group_of_unit.defined()) place = group_of_unit.index_select(0, unit) * scores.size(1) + expert;
  return at::zeros({groups * scores.size(1)}, count.options())
      .index_add(0, place, count.index_select(0, unit))
      .reshape({groups, scores.size(1)});
}

/// Of experts [E] each, and a number of units, over all ranks.
struct Totals {
  at::Tensor slots, mass, units;
};
Totals totals(const at::Tensor& slots, const at::Tensor& mass, const at::Tensor& units, Exchange* ranks) {
  if (ranks == nullptr || ranks->alone()) return {slots, mass, units};
  const std::int64_t experts = slots.size(0);
  const at::Tensor all = total_of_ranks(ranks, at::cat({slots, mass, units.reshape({1})}));
  return {all.narrow(0, 0, experts).detach(), all.narrow(0, experts, experts), all[2 * experts].detach()};
}

}  // namespace

at::Tensor balance_loss(const at::Tensor& scores, const RoutePlan& plan, LoadShare share, const at::Tensor& counted,
                        const at::Tensor& expert_weights, Exchange* ranks) {
  const at::Tensor count = counts(counted, scores);
  const auto [slots, mass, all] =
      totals(slots_of(plan, scores, count, {}, 1).squeeze(0), at::mv(scores.t(), count), count.sum(), ranks);
  const at::Tensor units = all.clamp_min(1.0);
  const at::Tensor share_of = slots / (share == LoadShare::kOfUnits ? units : slots.sum().clamp_min(1.0));
  at::Tensor terms = share_of * mass / units;
  if (expert_weights.defined()) terms = terms * expert_weights.to(scores.scalar_type());
  return terms.sum() * static_cast<double>(scores.size(1));
}

at::Tensor single_expert_balance_loss(const at::Tensor& scores, const RoutePlan& plan, const at::Tensor& counted,
                                      Exchange* ranks) {
  const at::Tensor count = counts(counted, scores);
  at::Tensor single = count.clone();
  for (std::int64_t unit = 0; unit < plan.units(); ++unit) {
    if (plan.experts_of(unit).size() != 1) single[unit] = 0.0;
  }
  const auto [slots, mass, units] =
      totals(slots_of(plan, scores, single, {}, 1).squeeze(0), at::mv(scores.t(), count), count.sum(), ranks);
  // A unit that counts here has one slot: the slots are as many as the units.
  const at::Tensor share_of = slots / slots.sum().clamp_min(1.0);
  return (share_of * (mass / units.clamp_min(1.0))).sum() * static_cast<double>(scores.size(1));
}

at::Tensor weight_balance_loss(const at::Tensor& scores, const at::Tensor& weights, const RoutePlan& plan,
                               const at::Tensor& counted, Exchange* ranks) {
  const at::Tensor count = counts(counted, scores);
  const std::int64_t experts = scores.size(1);
  const at::Tensor counting = weights * count.index_select(0, units_of_slots(plan));
  const at::Tensor weighed = at::zeros({experts}, count.options()).index_add(0, experts_of_slots(plan), counting);
  const at::Tensor all = total_of_ranks(ranks, at::cat({weighed, at::mv(scores.t(), count), count.sum().reshape({1})}));
  const at::Tensor units = all[2 * experts].detach().clamp_min(1.0);
  return (all.narrow(0, 0, experts) / units * all.narrow(0, experts, experts) / units).sum() *
         static_cast<double>(experts);
}

at::Tensor sequence_balance_loss(const at::Tensor& scores, const RoutePlan& plan, const at::Tensor& sequence_of_unit,
                                 std::int64_t sequences, LoadShare share, const at::Tensor& counted) {
  const at::Tensor count = counts(counted, scores);
  const at::Tensor slots = slots_of(plan, scores, count, sequence_of_unit, sequences);
  const at::Tensor units = at::zeros({sequences}, count.options()).index_add(0, sequence_of_unit, count);
  const at::Tensor per_unit = units.clamp_min(1.0).unsqueeze(1);
  const at::Tensor share_of =
      slots / (share == LoadShare::kOfUnits ? per_unit : slots.sum(1, /*keepdim=*/true).clamp_min(1.0));
  const at::Tensor mass = at::zeros({sequences, scores.size(1)}, count.options())
                              .index_add(0, sequence_of_unit, scores * count.unsqueeze(1));
  const at::Tensor of_sequences = (share_of * mass / per_unit).sum(1) * static_cast<double>(scores.size(1));
  return of_sequences.sum() / (units > 0.0).sum().clamp_min(1);
}

at::Tensor z_loss(const at::Tensor& logits, const at::Tensor& counted) {
  const at::Tensor empty = (logits.detach() == kNone).all(1);
  const at::Tensor sums = at::logsumexp(logits.masked_fill(empty.unsqueeze(1), 0.0), 1);
  return mean_of_counted(sums.square(), counts(counted, logits).masked_fill(empty, 0.0));
}

at::Tensor router_entropy(const at::Tensor& probabilities, Entropy kind, double order, const at::Tensor& counted) {
  TORCH_CHECK(order > 0.0, "router_entropy: order is ", order, ", expected more than 0");
  at::Tensor of_units;
  // 0 log 0 = 0, and no slope there.
  const at::Tensor zero = probabilities.detach() <= 0.0;
  const at::Tensor positive = probabilities.masked_fill(zero, 1.0);
  if (kind == Entropy::kShannon || order == 1.0) {
    of_units = -(positive * positive.log()).sum(1);
  } else {
    const at::Tensor power_sum = positive.pow(order).masked_fill(zero, 0.0).sum(1);
    of_units = kind == Entropy::kTsallis ? (1.0 - power_sum) / (order - 1.0) : power_sum.log() / (1.0 - order);
  }
  return mean_of_counted(of_units, counts(counted, probabilities));
}

at::Tensor relative_router_entropy(const at::Tensor& probabilities, Entropy kind, double order, double eps,
                                   const at::Tensor& counted) {
  const double experts = static_cast<double>(probabilities.size(1));
  if (experts < 2.0) return (probabilities * 0.0).sum();
  const bool shannon = kind == Entropy::kShannon || std::fabs(order - 1.0) < 1e-3;
  const double most =
      shannon || kind == Entropy::kRenyi ? std::log(experts) : (1.0 - std::pow(experts, 1.0 - order)) / (order - 1.0);
  return router_entropy(probabilities + eps, shannon ? Entropy::kShannon : kind, order, counted) / most;
}

at::Tensor orthogonality_loss(const at::Tensor& experts) {
  const std::int64_t count = experts.size(0);
  TORCH_CHECK(count > 1, "orthogonality_loss: ", count, " experts, expected at least two");
  const at::Tensor rows = experts.reshape({count, -1});
  const at::Tensor unit = rows * at::rsqrt(rows.square().sum(1, /*keepdim=*/true).clamp_min(1e-24));
  const at::Tensor cosines = at::mm(unit, unit.t());
  return cosines.triu(1).square().sum() * (2.0 / static_cast<double>(count * (count - 1)));
}

at::Tensor importance_loss(const at::Tensor& scores, const at::Tensor& counted, Exchange* ranks) {
  return squared_variation(total_of_ranks(ranks, at::mv(scores.t(), counts(counted, scores))));
}

at::Tensor load_loss(const at::Tensor& clean, const at::Tensor& noisy, const at::Tensor& deviation, int k,
                     const at::Tensor& counted, Exchange* ranks) {
  TORCH_CHECK(k > 0 && k < noisy.size(1), "load_loss: k is ", k, ", expected 1..", noisy.size(1) - 1);
  // The k-th largest of the others: of all k-th where the expert is not among the k best, else the one after.
  const at::Tensor best = std::get<0>(at::topk(noisy, k + 1, 1));
  const at::Tensor kth = best.narrow(1, k - 1, 1), next = best.narrow(1, k, 1);
  const at::Tensor bar = at::where(noisy >= kth, next, kth);
  const at::Tensor chance = 0.5 * (1.0 + at::erf((clean - bar) / deviation / std::sqrt(2.0)));
  return squared_variation(total_of_ranks(ranks, at::mv(chance.t(), counts(counted, clean))));
}

void update_selection_bias(at::Tensor& bias, const at::Tensor& load, double rate, BiasUpdate kind) {
  at::NoGradGuard guard;
  const at::Tensor rows = load.to(bias.scalar_type()), mean = rows.mean();
  if (mean.item<double>() <= 0.0) return;
  const at::Tensor missing = mean - rows;
  bias.add_(kind == BiasUpdate::kSign ? missing.sign() : missing / mean, rate);
}

}  // namespace junto
