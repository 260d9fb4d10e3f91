#include "train/nn/route.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "moe/prune.h"
#include "train/nn/balanced_assignment.h"
#include "train/nn/sparse_mixer.h"

namespace junto {
namespace {

constexpr double kNotScored = -std::numeric_limits<double>::infinity();

/// [units, 1]: what the spec's standard deviation multiplies logits by, in double on the way as in the engine;
/// `finite_logits` are 0 where `finite` is not.
at::Tensor factor_of_deviation(double wanted, const at::Tensor& finite_logits, const at::Tensor& finite) {
  const at::Tensor values = finite_logits.to(at::kDouble);
  const at::Tensor count = finite.sum(1, /*keepdim=*/true).to(at::kDouble);
  const at::Tensor mean = values.sum(1, true) / count.clamp_min(1.0);
  const at::Tensor squares = (values - mean).masked_fill(at::logical_not(finite), 0.0).square().sum(1, true);
  const at::Tensor none = at::logical_or(count < 2.0, squares.detach() == 0.0);
  const at::Tensor variance = squares.masked_fill(none, 1.0) / (count - 1.0).masked_fill(none, 1.0);
  return (wanted * at::rsqrt(variance)).masked_fill(none, 1.0).to(finite_logits.scalar_type());
}

/// Deviation, scale, soft cap, the policy's edits, and what clean_logits() does. What is not finite on the way is a
/// constant: multiplying its zero gradient by an infinite slope would make NaN.
at::Tensor edited(const CompiledRouter& router, const at::Tensor& logits) {
  const RouterSpec& spec = router.spec;
  const at::Tensor none = at::logical_or(logits.isnan(), logits == kNotScored);
  const at::Tensor finite_inputs = at::where(at::isfinite(logits), logits, at::zeros({}, logits.options()));
  at::Tensor factor;
  if (spec.logit_deviation > 0.0f)
    factor = factor_of_deviation(spec.logit_deviation, finite_inputs, at::isfinite(logits));
  const auto edit = [&](at::Tensor values) {
    if (factor.defined()) values = values * (values.requires_grad() ? factor : factor.detach());
    values = values * static_cast<double>(spec.logit_scale);
    if (spec.logit_softcap > 0.0f) {
      const double cap = spec.logit_softcap;
      values = cap * at::tanh(values / cap);
    }
    if (!router.edits.empty()) values = values + at::tensor(router.edits, values.options().requires_grad(false));
    return values;
  };
  const at::Tensor values = edit(finite_inputs);
  at::Tensor constants = edit(logits.detach());
  constants = constants.masked_fill(at::logical_or(none, constants.isnan()), kNotScored);
  constants = constants.clamp_max(static_cast<double>(std::numeric_limits<float>::max()));
  return at::where(at::logical_and(at::isfinite(logits), at::isfinite(values.detach())), values, constants);
}

/// Softmax over the candidates of each row; a row without any gives zeros.
at::Tensor softmax_of_candidates(const at::Tensor& logits) {
  const at::Tensor none = logits == kNotScored;
  const at::Tensor empty = none.all(1, /*keepdim=*/true);
  return at::softmax(logits.masked_fill(empty, 0.0), 1).masked_fill(none, 0.0);
}

at::Tensor scores_of(Score rule, const at::Tensor& logits) {
  switch (rule) {
    case Score::kSoftmax:
      return softmax_of_candidates(logits);
    case Score::kSigmoid:
      return at::sigmoid(logits);  // of -inf: 0, with gradient 0
    case Score::kLogit:
      return logits;
  }
  return logits;
}

/// What the slots of one unit share, as [slots]: sum over them of `values`.
class PerUnit {
 public:
  PerUnit(const RoutePlan& plan, at::Tensor unit_of_slot) : plan_(plan), unit_of_slot_(std::move(unit_of_slot)) {}
  at::Tensor sum(const at::Tensor& values) const {
    return at::zeros({plan_.units()}, values.options().requires_grad(false)).index_add(0, unit_of_slot_, values);
  }
  /// Without gradient; 0 for units without slots.
  at::Tensor largest(const at::Tensor& values) const {
    const at::Tensor of_slots = values.detach().to(at::kDouble);
    const at::Tensor out = at::zeros({plan_.units()}, at::kDouble);
    const double* value = of_slots.data_ptr<double>();
    for (std::int64_t unit = 0; unit < plan_.units(); ++unit) {
      const std::int32_t begin = plan_.offset[unit], end = plan_.offset[unit + 1];
      if (end > begin) out.data_ptr<double>()[unit] = *std::max_element(value + begin, value + end);
    }
    return out.to(values.scalar_type());
  }
  at::Tensor spread(const at::Tensor& of_units) const { return of_units.index_select(0, unit_of_slot_); }

 private:
  const RoutePlan& plan_;
  at::Tensor unit_of_slot_;
};

at::Tensor renormalised(const RouterSpec& spec, const PerUnit& per_unit, const at::Tensor& weights) {
  at::Tensor norm;
  if (spec.renormalise_p == 1.0f) {
    norm = per_unit.sum(weights);
  } else {
    const double p = spec.renormalise_p;
    const at::Tensor total = per_unit.sum(weights.abs().pow(p));
    const at::Tensor empty = total.detach() == 0.0;  // whose root has no slope
    norm = total.masked_fill(empty, 1.0).pow(1.0 / p).masked_fill(empty, 0.0);
  }
  norm = norm + static_cast<double>(spec.renormalise_eps);
  if (spec.renormalise_min > 0.0f) norm = norm.clamp_min(static_cast<double>(spec.renormalise_min));
  norm = at::where(norm > 0.0, norm, at::ones({}, norm.options()));  // weights stay as they are
  return weights / per_unit.spread(norm);
}

/// 0 for the experts that have no weight, and renormalised where the spec says so.
at::Tensor finished_weights(const RouterSpec& spec, const RoutePlan& plan, const at::Tensor& unit_of_slot,
                            const at::Tensor& expert_of_slot, at::Tensor weights) {
  if (spec.weightless > 0) weights = weights.masked_fill(expert_of_slot >= spec.experts - spec.weightless, 0.0);
  return spec.weigh == Weigh::kRenormalised ? renormalised(spec, PerUnit(plan, unit_of_slot), weights) : weights;
}

/// Before what finished_weights() does.
at::Tensor weights_of(const RouterSpec& spec, const RoutedUnits& routed, const at::Tensor& unit_of_slot,
                      const at::Tensor& expert_of_slot) {
  const PerUnit per_unit(routed.plan, unit_of_slot);
  const at::Tensor place = unit_of_slot * routed.logits.size(1) + expert_of_slot;
  const auto at_slots = [&](const at::Tensor& values) { return values.reshape({-1}).index_select(0, place); };
  if (const auto* rule = std::get_if<SparseMixer>(&spec.select))
    return sparse_mixer_weights(*rule, routed.plan, routed.logits, unit_of_slot, expert_of_slot);
  switch (spec.weigh) {
    case Weigh::kRaw:
    case Weigh::kRenormalised:
      return at_slots(routed.scores);
    case Weigh::kSoftmaxOfAll:
      return at_slots(softmax_of_candidates(routed.logits));
    case Weigh::kSoftmaxOfChosen: {
      const at::Tensor logits = at_slots(routed.logits);
      const at::Tensor powers = at::exp(logits - per_unit.spread(per_unit.largest(logits)));
      return powers / per_unit.spread(per_unit.sum(powers));
    }
    case Weigh::kConstant:
      return at::ones({routed.plan.slots()}, routed.logits.options().requires_grad(false));
  }
  return {};
}

/// What the engine chooses from `logits` [units, E]; nothing is pruned.
RoutePlan chosen_by_engine(const CompiledRouter& router, const at::Tensor& logits, const RouteOptions& options) {
  at::NoGradGuard guard;
  at::Tensor values = logits.detach().to(at::kFloat).contiguous().clone();
  std::span<const float> bias;
  at::Tensor bias_values;
  if (options.selection_bias.defined()) {
    bias_values = options.selection_bias.detach().to(at::kFloat).contiguous();
    bias = {bias_values.data_ptr<float>(), static_cast<std::size_t>(values.size(1))};
  }
  CompiledRouter unpruned = router;
  unpruned.spec.prune.reset();
  RouteScratch scratch;
  RoutePlan plan;
  route(unpruned, {values.data_ptr<float>(), values.size(0), values.size(1)}, bias, scratch, plan, options.keys);
  return plan;
}

void take_weights(RoutePlan& plan, const at::Tensor& weights) {
  const at::Tensor values = weights.detach().to(at::kFloat).contiguous();
  plan.weight.assign(values.data_ptr<float>(), values.data_ptr<float>() + values.numel());
}

/// Drops what is over capacity from plan and weights.
void prune_under_autograd(const Capacity& rule, int experts, RoutedUnits& routed) {
  // In double: what stays of a unit may weigh 1e-25, whose square is no float.
  const at::Tensor all = routed.weights.to(at::kDouble);
  at::Tensor before = PerUnit(routed.plan, units_of_slots(routed.plan)).sum(all);
  std::vector<std::int32_t> kept;
  RoutePlan unpruned = routed.plan;
  if (prune(rule, experts, routed.plan, &kept) == 0) return;
  routed.unpruned = std::move(unpruned);
  const at::Tensor slots = at::tensor(std::vector<std::int64_t>(kept.begin(), kept.end()), at::kLong);
  routed.weights = routed.weights.index_select(0, slots);
  if (rule.drop == Capacity::Drop::kZero) return;
  const PerUnit per_unit(routed.plan, units_of_slots(routed.plan));
  const at::Tensor kept_weights = all.index_select(0, slots);
  const at::Tensor after = per_unit.sum(kept_weights);
  const at::Tensor none = after.detach().abs() <= kLeastKept * before.detach().abs();
  const at::Tensor factor = before.masked_fill(none, 1.0) / after.masked_fill(none, 1.0);
  routed.weights = (kept_weights * per_unit.spread(factor)).to(routed.weights.scalar_type());
}

}  // namespace

at::Tensor units_of_slots(const RoutePlan& plan) {
  const at::Tensor ids = at::empty({plan.slots()}, at::kLong);
  std::int64_t* out = ids.data_ptr<std::int64_t>();
  for (std::int64_t unit = 0; unit < plan.units(); ++unit) {
    for (std::int32_t slot = plan.offset[unit]; slot < plan.offset[unit + 1]; ++slot) out[slot] = unit;
  }
  return ids;
}

at::Tensor experts_of_slots(const RoutePlan& plan) {
  const at::Tensor ids = at::empty({plan.slots()}, at::kLong);
  std::copy(plan.expert.begin(), plan.expert.end(), ids.data_ptr<std::int64_t>());
  return ids;
}

at::Tensor weights_of_experts(const RoutePlan& plan, const at::Tensor& weights, int experts) {
  const at::Tensor place = units_of_slots(plan) * static_cast<std::int64_t>(experts) + experts_of_slots(plan);
  return at::zeros({plan.units() * experts}, weights.options().requires_grad(false))
      .index_add(0, place, weights)
      .reshape({plan.units(), experts});
}

at::Tensor load_of_experts(const RoutePlan& plan, int experts) {
  const at::Tensor load = at::zeros({experts}, at::kFloat);
  float* out = load.data_ptr<float>();
  for (const std::int32_t expert : plan.expert) out[expert] += 1.0f;
  return load;
}

RoutedUnits route_under_autograd(const CompiledRouter& router, const at::Tensor& logits, const RouteOptions& options) {
  const RouterSpec& spec = router.spec;
  TORCH_CHECK(logits.dim() == 2 && logits.size(1) == spec.experts, "route: logits are ", logits.sizes(),
              ", expected [units, ", spec.experts, "]");
  TORCH_CHECK(!spec.selection_bias || options.selection_bias.defined(), "route: the spec has a selection bias");
  TORCH_CHECK(options.keys.empty() || static_cast<std::int64_t>(options.keys.size()) == logits.size(0),
              "route: ", options.keys.size(), " keys, expected ", logits.size(0));
  RoutedUnits routed;
  routed.logits = edited(router, logits);
  routed.scores = scores_of(spec.score, routed.logits);
  const auto* mixer = std::get_if<SparseMixer>(&spec.select);
  const bool apart = options.selection_logits.defined() || options.balanced;
  if (mixer != nullptr && options.sample) {
    SampledMixer sampled = sample_sparse_mixer(*mixer, routed.logits, *options.sample);
    routed.plan = std::move(sampled.plan);
    routed.weights = finished_weights(spec, routed.plan, units_of_slots(routed.plan), experts_of_slots(routed.plan),
                                      sampled.weights);
  } else {
    const at::Tensor& choosing = options.selection_logits.defined() ? options.selection_logits : logits;
    routed.plan = options.balanced ? balanced_assignment(choosing) : chosen_by_engine(router, choosing, options);
    const at::Tensor unit_of_slot = units_of_slots(routed.plan), expert_of_slot = experts_of_slots(routed.plan);
    routed.weights = finished_weights(spec, routed.plan, unit_of_slot, expert_of_slot,
                                      weights_of(spec, routed, unit_of_slot, expert_of_slot));
  }
  if (spec.scale != 1.0f) routed.weights = routed.weights * static_cast<double>(spec.scale);
  if (apart || options.sample) take_weights(routed.plan, routed.weights);
  if (spec.prune) prune_under_autograd(*spec.prune, spec.experts, routed);
  return routed;
}

RoutedUnits route_under_autograd(const CompiledRouter& router, const at::Tensor& logits,
                                 const at::Tensor& selection_bias) {
  return route_under_autograd(router, logits, RouteOptions{.selection_bias = selection_bias});
}

}  // namespace junto
