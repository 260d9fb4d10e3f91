#include "train/nn/moe_layer.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/error.h"
#include "train/nn/expert_activation.h"
#include "train/nn/feed_forward.h"
#include "train/parallel/ranks_experts.h"

namespace junto {
namespace {

const Activation kSwiglu;

/// Rows of length 1; rows of zeros stay.
at::Tensor unit_rows(const at::Tensor& x) {
  return x * at::rsqrt(x.square().sum(1, /*keepdim=*/true).clamp_min(1e-24));
}

/// The slots of experts with weights, and where they stand in `plan`.
struct WeightedSlots {
  RoutePlan plan;
  std::vector<std::int64_t> places;
};

WeightedSlots slots_with_weights(const RoutePlan& plan, int experts) {
  WeightedSlots out;
  for (std::int64_t unit = 0; unit < plan.units(); ++unit) {
    for (std::int32_t slot = plan.offset[unit]; slot < plan.offset[unit + 1]; ++slot) {
      if (plan.expert[slot] >= experts) continue;
      out.plan.expert.push_back(plan.expert[slot]);
      out.plan.weight.push_back(plan.weight[slot]);
      out.places.push_back(slot);
    }
    out.plan.offset.push_back(static_cast<std::int32_t>(out.plan.expert.size()));
  }
  return out;
}

at::Tensor run_weighted(const MoeShape& shape, const MoeParameters& parameters, const at::Tensor& x,
                        const RoutePlan& plan, const at::Tensor& weights) {
  const int experts = shape.weighted_experts();
  if (parameters.parted()) {
    return ranks_experts(*parameters.share, x, weights, parameters.expert_gate_up, parameters.expert_down, plan,
                         parameters.gradients, shape.activation, shape.router.weight_on);
  }
  if (shape.router.weight_on == WeightOn::kOutput) {
    return grouped_experts(x, weights, parameters.expert_gate_up, parameters.expert_down, group_slots(plan, experts),
                           parameters.gradients, shape.activation);
  }
  // Each slot as a unit of its own, whose input is weighted.
  RoutePlan rows;
  rows.expert = plan.expert;
  rows.weight.assign(plan.expert.size(), 1.0f);
  for (std::size_t slot = 0; slot < plan.expert.size(); ++slot) {
    rows.offset.push_back(static_cast<std::int32_t>(slot + 1));
  }
  const at::Tensor unit_of_slot = units_of_slots(plan);
  const at::Tensor inputs = x.index_select(0, unit_of_slot) * weights.unsqueeze(1);
  const at::Tensor out =
      grouped_experts(inputs, at::ones_like(weights.detach()), parameters.expert_gate_up, parameters.expert_down,
                      group_slots(rows, experts), parameters.gradients, shape.activation);
  return at::zeros_like(x.detach()).index_add(0, unit_of_slot, out);
}

/// What constant, copy and zero experts give: no rows are moved, each unit's weights for them are its factors.
at::Tensor run_free(const MoeShape& shape, const MoeParameters& parameters, const at::Tensor& x, const RoutePlan& plan,
                    const at::Tensor& weights) {
  const std::int64_t first = shape.weighted_experts(), C = shape.constant_experts;
  const at::Tensor factors = weights_of_experts(plan, weights, shape.router.experts);
  at::Tensor of_x = factors.narrow(1, first + C, shape.copy_experts).sum(1);
  if (C == 0) return x * of_x.unsqueeze(1);
  const at::Tensor constant = factors.narrow(1, first, C);
  const at::Tensor mix =
      at::softmax(project(x, parameters.constant_mix.reshape({2 * C, x.size(1)})).reshape({x.size(0), C, 2}), 2);
  of_x = of_x + (constant * mix.select(2, 0)).sum(1);
  return x * of_x.unsqueeze(1) + at::mm(constant * mix.select(2, 1), parameters.constants);
}

at::Tensor run_experts_of(const MoeShape& shape, const MoeParameters& parameters, const at::Tensor& x,
                          const RoutedUnits& routed) {
  if (shape.free_experts() == 0) return run_weighted(shape, parameters, x, routed.plan, routed.weights);
  const WeightedSlots slots = slots_with_weights(routed.plan, shape.weighted_experts());
  const at::Tensor free = run_free(shape, parameters, x, routed.plan, routed.weights);
  if (slots.places.empty() && !x.requires_grad() && !parameters.parted()) return free;
  const at::Tensor weights = routed.weights.index_select(0, at::tensor(slots.places, at::kLong));
  return free + run_weighted(shape, parameters, x, slots.plan, weights);
}

RoutedUnits route_round(const MoeShape& shape, const MoeRouters& routers, const MoeParameters::Router& router,
                        const at::Tensor& x, MoePass& pass) {
  RouteOptions options{.selection_bias = router.selection_bias, .keys = pass.keys};
  if (!pass.training) {
    pass.carried_logits = router_logits(shape.router, router, x, pass.carried_logits);
    return route_under_autograd(routers.finished, pass.carried_logits, options);
  }
  const RouterTraining& training = shape.router_training;
  const at::Tensor read = jittered(training, x, pass.place);
  const at::Tensor logits = router_logits(shape.router, router, read, pass.carried_logits);
  pass.carried_logits = logits;
  const NoisyLogits noisy =
      add_noise(training, logits, router.noise.defined() ? project(read, router.noise) : at::Tensor(), pass.place);
  options.selection_logits = noisy.select;
  options.balanced = training.balanced;
  if (training.sample) options.sample = pass.place;
  ++pass.place.routing;
  RoutedUnits routed = route_under_autograd(routers.training, noisy.weigh, options);
  if (noisy.deviation.defined()) routed.clean_logits = logits, routed.deviation = noisy.deviation;
  return routed;
}

}  // namespace

ExpertKind MoeShape::kind_of(int expert) const {
  int place = expert - weighted_experts();
  if (place < 0) return ExpertKind::kFfn;
  if (place < constant_experts) return ExpertKind::kConstant;
  return place < constant_experts + copy_experts ? ExpertKind::kCopy : ExpertKind::kZero;
}

void check_moe_shape(const MoeShape& shape, std::string_view where) {
  if (shape.weighted_experts() < 1) {
    fail(where, "free_experts: " + std::to_string(shape.free_experts()) + " of " +
                    std::to_string(shape.router.experts) + " experts, expected one with weights at least");
  }
  if (shape.router.weight_on == WeightOn::kInput && shape.free_experts() > 0) {
    fail(where, "free_experts: set, expected none where weights multiply inputs");
  }
  if (shape.expert_width < 1) fail(where, "expert_width: 0, expected the width of an expert");
  if (shape.activation.kind == ActivationKind::kSwigluOai) {
    fail(where, "activation: swiglu_oai, expected one that can be trained");
  }
}

void request_moe_parameters(const MoeShape& shape, std::int64_t hidden, const std::string& prefix, int carried_experts,
                            double deviation, double residual_deviation, MoeParameters& parameters,
                            std::vector<Parameters::Request>& requests) {
  const auto matrix = [&](const std::string& name, std::vector<std::int64_t> sizes, at::Tensor& out, double spread) {
    requests.push_back({.name = prefix + name + ".weight",
                        .shape = std::move(sizes),
                        .out = &out,
                        .deviation = spread,
                        .decays = true});
  };
  const RouterSpec& router = shape.router;
  const std::int64_t experts = router.experts, weighted = shape.weighted_experts(), S = shape.shared_width;
  if (S > 0) {
    matrix("ffn_gate_up", {2 * S, hidden}, parameters.gate_up, deviation);
    matrix("ffn_down", {hidden, S}, parameters.down, residual_deviation);
  }
  parameters.routers.resize(static_cast<std::size_t>(shape.rounds.routers()));
  for (std::size_t r = 0; r < parameters.routers.size(); ++r) {
    MoeParameters::Router& own = parameters.routers[r];
    const std::string number = r > 0 ? "." + std::to_string(r) : "";
    const bool two_layer = router.logits == LogitsKind::kTwoLayer;
    if (two_layer) matrix("ffn_gate_inp_hidden" + number, {router.logits_hidden, hidden}, own.hidden, deviation);
    matrix("ffn_gate_inp" + number, {experts, two_layer ? router.logits_hidden : hidden}, own.logits, deviation);
    const std::int64_t carried = r > 0 ? experts : carried_experts;
    if (router.logit_residual && carried > 0) {
      matrix("ffn_gate_res" + number, {experts, carried}, own.residual, deviation);
    }
    if (shape.router_training.noise == RouterTraining::Noise::kLearned) {
      matrix("ffn_gate_noise" + number, {experts, hidden}, own.noise, 0.0);
    }
    if (router.selection_bias) own.selection_bias = at::zeros({experts}, at::kFloat);
  }
  const bool lora = shape.activation.kind == ActivationKind::kIdentity && !shape.activation.gated;
  const auto experts_of_ranks = [&](const std::string& name, std::vector<std::int64_t> sizes, at::Tensor& out,
                                    double spread) {
    matrix(name, std::move(sizes), out, spread);
    if (parameters.share) requests.back().rows = parameters.share->own;
  };
  experts_of_ranks("ffn_gate_up_exps", {weighted, projected_width(shape.activation, shape.expert_width), hidden},
                   parameters.expert_gate_up, deviation);
  experts_of_ranks("ffn_down_exps", {weighted, hidden, shape.expert_width}, parameters.expert_down,
                   lora ? 0.0 : residual_deviation);
  if (shape.constant_experts == 0) return;
  matrix("ffn_constant", {shape.constant_experts, hidden}, parameters.constants, 1.0);
  matrix("ffn_constant_mix", {shape.constant_experts, 2, hidden}, parameters.constant_mix, deviation);
}

MoeRouters compile_routers(const MoeShape& shape) {
  MoeRouters routers{.finished = compile_router(shape.router, LayerPolicy()), .training = {}};
  routers.training = routers.finished;
  if (shape.router_training.select) routers.training.spec.select = *shape.router_training.select;
  routers.finished.spec.prune.reset();  // a finished model drops nothing
  return routers;
}

at::Tensor router_logits(const RouterSpec& spec, const MoeParameters::Router& router, const at::Tensor& x,
                         const at::Tensor& carried_logits) {
  at::Tensor logits;
  switch (spec.logits) {
    case LogitsKind::kLinear:
      logits = project(x, router.logits);
      break;
    case LogitsKind::kCosine:
      logits = project(unit_rows(x), unit_rows(router.logits));
      break;
    case LogitsKind::kTwoLayer:
      logits = project(at::tanh(project(x, router.hidden)), router.logits);
      break;
  }
  if (!router.residual.defined() || !carried_logits.defined()) return logits;
  return logits + project(carried_logits, router.residual);
}

at::Tensor moe_layer(const MoeShape& shape, const MoeRouters& routers, const MoeParameters& parameters,
                     const at::Tensor& x, MoePass& pass, const at::Tensor& router_input) {
  at::Tensor state = x, sum;
  for (int round = 0; round < shape.rounds.count; ++round) {
    const MoeParameters::Router& router = parameters.routers[static_cast<std::size_t>(shape.rounds.router_of(round))];
    RoutedUnits routed = route_round(shape, routers, router, router_input.defined() ? router_input : state, pass);
    const bool shared = shape.shared_width > 0 && (!shape.rounds.shared_last || round + 1 == shape.rounds.count);
    const at::Tensor out = timed(pass.experts, state, [&](const at::Tensor& rows) {
      const at::Tensor read = shape.input_scale == 1.0f ? rows : rows * static_cast<double>(shape.input_scale);
      const at::Tensor routed_out = run_experts_of(shape, parameters, read, routed);
      return shared ? routed_out + feed_forward(kSwiglu, rows, parameters.gate_up, parameters.down) : routed_out;
    });
    pass.routed.push_back(std::move(routed));
    sum = shape.rounds.inner_residual && sum.defined() ? sum + out : out;
    state = shape.rounds.inner_residual ? state + out : out;
  }
  return sum;
}

double router_flops(const MoeShape& shape, std::int64_t hidden) {
  const double E = shape.router.experts, D = static_cast<double>(hidden), R = shape.router.logits_hidden;
  double of_one = shape.router.logits == LogitsKind::kTwoLayer ? 2 * D * R + 2 * R * E : 2 * D * E;
  if (shape.router.logit_residual) of_one += 2 * E * E;
  if (shape.router_training.noise == RouterTraining::Noise::kLearned) of_one += 2 * D * E;
  of_one += 4 * D * shape.constant_experts;
  return of_one * shape.rounds.count;
}

double expert_flops(const MoeShape& shape, std::int64_t hidden) {
  const std::int64_t H = shape.expert_width;
  return 2.0 * static_cast<double>(hidden) * static_cast<double>(projected_width(shape.activation, H) + H);
}

std::int64_t weighted_slots(const MoeShape& shape, const RoutePlan& plan) {
  return std::count_if(plan.expert.begin(), plan.expert.end(),
                       [&](std::int32_t e) { return e < shape.weighted_experts(); });
}

}  // namespace junto
