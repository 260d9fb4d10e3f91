#include "train/loop/stages.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>

#include "base/error.h"
#include "base/random.h"
#include "moe/json_fields.h"
#include "train/loop/adafactor.h"
#include "train/nn/counter_random.h"
#include "train/parallel/parted_parameters.h"

namespace junto {
namespace {

constexpr float kApart = 1e-6f;               // of a router's row, between copies of an expert
constexpr std::uint64_t kDiversity = 0x6d9f;  // keeps these draws apart from those of training

std::vector<std::string> parse_patterns(const Json& json, JsonFields& fields) {
  std::vector<std::string> out;
  if (!json.is_array()) fields.fail_at("freeze", quoted(json) + ", expected a list of patterns of parameters' names");
  for (const Json& pattern : json) {
    if (!pattern.is_string()) fields.fail_at("freeze", quoted(json) + ", expected a list of texts");
    out.push_back(pattern.get<std::string>());
  }
  return out;
}

Diversity parse_diversity(const Json& json, std::string_view where) {
  constexpr std::array<std::string_view, 4> kKinds = {"copy", "mask", "noise", "redraw"};
  JsonFields fields(json, where, "stages: diversity");
  Diversity out;
  fields.read("kind", kKinds, out.kind, "How each expert differs from what it is a copy of");
  fields.read("amount", 0.0f, 1.0f, out.amount, "Share of weights; of noise, of their deviation");
  fields.read("new_routers", out.new_routers, "Routers begin anew");
  fields.finish();
  return out;
}

/// `before` is what holds until the stage begins.
Stage parse_stage(const Json& json, const StageState& before, JsonFields& fields) {
  Stage stage;
  // Checked as a float, taken as it is written: 0.2 of ten steps is two of them.
  if (fields.number("from", 0.0f, 1.0f, "Share of the run; without: 0")) stage.from = json["from"].get<double>();
  const Json* freeze = fields.by_hand("freeze", R"({"type": "array", "items": {"type": "string"}})",
                                      "Patterns of names of parameters that are not updated");
  if (freeze != nullptr) stage.freeze = parse_patterns(*freeze, fields);
  stage.experts = fields.integer("experts", 1, 1 << 20, "Experts grow to so many").value_or(0);
  if (const Json* router = fields.any("router", "Other rules of routing from here on"))
    stage.router = parse_router_spec(*router, fields.where());
  RouterSpec now = stage.router.value_or(before.router);
  now.experts = std::max(now.experts, static_cast<int>(stage.experts));
  if (const Json* training = fields.any("router_training", "What training does to routers from here on"))
    stage.router_training = parse_router_training(*training, now, fields.where());
  if (const Json* diversity = fields.any("diversity", "What makes experts unlike that are copies"))
    stage.diversity = parse_diversity(*diversity, fields.where());
  if (const Json* grid = fields.any("placement", "Another layout of the processes from here on"))
    stage.placement = parse_placement_grid(*grid, fields.where(), std::string(fields.path()) + ": placement");
  if (const auto back = fields.integer("router_back", 0, 64, "Routers read what the routed layer so many below reads"))
    stage.router_back = static_cast<int>(*back);
  return stage;
}

/// `to` [E', ...] from `from` [E, ...]: row e is row e mod E.
void copy_rows(const at::Tensor& from, const at::Tensor& to) {
  if (from.sizes() == to.sizes()) {
    to.copy_(from);
    return;
  }
  for (std::int64_t e = 0; e < to.size(0); ++e) to[e].copy_(from[e % from.size(0)]);
}

/// `values`, those of one matrix of all experts, as `diversity` has them.
void make_experts_unlike(const Diversity& diversity, const CounterRandom& random, const at::Tensor& drawn,
                         const at::Tensor& values) {
  float* value = values.data_ptr<float>();
  const float* fresh = drawn.data_ptr<float>();
  const double amount = diversity.amount;
  const double noise = amount * std::sqrt(values.square().mean().item<double>());
  for (std::int64_t i = 0; i < values.numel(); ++i) {
    if (diversity.kind == Diversity::Kind::kNoise) {
      value[i] += static_cast<float>(noise * random.normal(i, 0));
    } else if (random.uniform(i, 0) < amount) {
      value[i] = diversity.kind == Diversity::Kind::kMask ? 0.0f : fresh[i];
    }
  }
}

/// `drawn`: the values that a model of this shape begins with.
void make_unlike(const Diversity& diversity, std::uint64_t seed, const at::Tensor& drawn, const Parameters& parameters,
                 Optimizer& optimizer) {
  for (std::size_t p = 0; p < parameters.all().size(); ++p) {
    const Parameter& parameter = parameters.all()[p];
    const auto part = [&](const at::Tensor& flat) { return flat.narrow(0, parameter.offset, parameter.value.numel()); };
    const bool expert = parameter.name.find("_exps.") != std::string::npos;
    const bool router = parameter.name.find(".ffn_gate_inp") != std::string::npos;
    if (router && diversity.new_routers) {
      part(parameters.values()).copy_(part(drawn));
      if (optimizer.average.defined()) part(optimizer.average).copy_(part(drawn));
      if (optimizer.first.defined()) part(optimizer.first).zero_();
      if (optimizer.second.defined() && !optimizer.factored) part(optimizer.second).zero_();
    }
    if (!expert || diversity.kind == Diversity::Kind::kCopy) continue;
    const CounterRandom random({.seed = seed, .routing = static_cast<std::int64_t>(p)}, kDiversity);
    make_experts_unlike(diversity, random, part(drawn), part(parameters.values()));
    if (optimizer.average.defined()) make_experts_unlike(diversity, random, part(drawn), part(optimizer.average));
  }
}

/// A flat array of `to`'s parameters out of one of `from`'s.
at::Tensor moved(const at::Tensor& flat, const Parameters& from, const Parameters& to) {
  if (!flat.defined()) return flat;
  at::Tensor out = at::zeros_like(to.values());
  for (std::size_t p = 0; p < to.all().size(); ++p) {
    const Parameter &old = from.all()[p], &now = to.all()[p];
    copy_rows(flat.narrow(0, old.offset, old.value.numel()).view(old.value.sizes()),
              out.narrow(0, now.offset, now.value.numel()).view(now.value.sizes()));
  }
  return out;
}

}  // namespace

std::vector<Stage> parse_stages(const std::vector<const Json*>& list, const LanguageModelShape& model,
                                std::string_view where) {
  std::vector<Stage> out;
  std::int64_t experts = model.router.experts;
  for (const Json* one : list) {
    JsonFields fields(*one, where, "stages[" + std::to_string(out.size()) + "]");
    const StageState before = stage_at(out, model, 1.0);
    Stage stage = parse_stage(*one, before, fields);
    if (!fields.finish()) return out;
    const auto learned = [](const RouterTraining& t) { return t.noise == RouterTraining::Noise::kLearned; };
    if (stage.router_training && learned(*stage.router_training) != learned(model.router_training))
      fields.fail_at("router_training", "with or without learned noise, expected what the model has");
    if (fields.has("diversity") && stage.experts <= before.router.experts)
      fields.fail_at("diversity", "set, expected nothing where experts do not grow");
    if (stage.experts > 0 && stage.experts < experts)
      fields.fail_at("experts", std::to_string(stage.experts) + ", expected at least " + std::to_string(experts));
    experts = std::max(experts, stage.experts);
    if (stage.router && stage.router->experts != experts) {
      fields.fail_at("router",
                     "of " + std::to_string(stage.router->experts) + " experts, expected " + std::to_string(experts));
    }
    if (stage.router_back.value_or(0) > 0 && model.rounds.count > 1)
      fields.fail_at("router_back", std::to_string(*stage.router_back) + ", expected 0 with several rounds");
    if ((stage.router || stage.router_training || stage.router_back || stage.experts > 0) && !model.routes())
      fields.fail_here("names experts, but no layer of the model has any");
    if (stage.experts > model.router.experts && (model.free_experts() > 0 || model.router.logit_residual))
      fields.fail_at("experts", std::to_string(stage.experts) + ", expected none in a model with free experts or a " +
                                    "gating residual: these do not grow");
    RouterSpec now = stage.router.value_or(before.router);
    now.experts = static_cast<int>(experts);
    if (stage.router || stage.experts > 0) check_router_spec(now, std::string(where) + ": " + fields.path());
    if (!out.empty() && stage.from <= out.back().from)
      fields.fail_at(
          "from", json_number(static_cast<float>(stage.from)).dump() + ", expected more than that of the stage before");
    out.push_back(std::move(stage));
  }
  return out;
}

StageState stage_at(const std::vector<Stage>& stages, const LanguageModelShape& model, double share) {
  StageState state{.count = 0,
                   .freeze = {},
                   .router = model.router,
                   .router_training = model.router_training,
                   .diversity = {},
                   .router_back = model.router_back,
                   .placement = {}};
  for (const Stage& stage : stages) {
    if (stage.from > share) break;
    ++state.count;
    if (stage.freeze) state.freeze = *stage.freeze;
    if (stage.router) state.router = *stage.router;
    if (stage.placement) state.placement = stage.placement;
    if (stage.router_training) state.router_training = *stage.router_training;
    state.diversity = stage.diversity;
    state.router_back = stage.router_back.value_or(state.router_back);
    if (stage.experts > 0) state.router.experts = static_cast<int>(stage.experts);
  }
  return state;
}

double value_at(const Ramp& ramp, double share) {
  if (share <= ramp.points.front().first) return ramp.points.front().second;
  for (std::size_t i = 1; i < ramp.points.size(); ++i) {
    const auto [begin, first] = ramp.points[i - 1];
    const auto [end, last] = ramp.points[i];
    const double way = (share - begin) / (end - begin);
    if (share < end) return ramp.exponential ? first * std::pow(last / first, way) : first + (last - first) * way;
  }
  return ramp.points.back().second;
}

std::unique_ptr<LanguageModel> grown_model(const LanguageModel& from, const LanguageModelShape& shape,
                                           std::uint64_t seed, Optimizer& optimizer, const Diversity& diversity) {
  at::NoGradGuard guard;
  std::shared_ptr<const ExpertShare> share = from.share();
  if (share && share->experts() != shape.weighted_experts()) {
    TORCH_CHECK(!share->parted(), "grown_model: experts are parted among ranks");
    share = make_whole_share(shape.weighted_experts(), *share->exchange);
  }
  auto model = std::make_unique<LanguageModel>(shape, seed, share);
  const Parameters &old = from.parameters(), &now = model->parameters();
  const at::Tensor drawn = now.values().clone();
  now.values().copy_(moved(old.values(), old, now));
  optimizer.first = moved(optimizer.first, old, now);
  optimizer.second = optimizer.factored ? moved_factors(optimizer.second, old, now) : moved(optimizer.second, old, now);
  optimizer.average = moved(optimizer.average, old, now);
  const bool grows = shape.router.experts > from.shape().router.experts;
  if (grows) make_unlike(diversity, seed, drawn, now, optimizer);
  if (grows && diversity.new_routers) return model;
  Random random(seed);
  for (std::size_t layer = 0; layer < model->blocks().size(); ++layer) {
    LanguageModel::Block& block = model->blocks()[layer];
    const LanguageModel::Block& before = from.blocks()[layer];
    for (std::size_t r = 0; r < block.routers.size(); ++r) {
      const MoeParameters::Router &router = block.routers[r], &old_router = before.routers[r];
      if (router.selection_bias.defined() && old_router.selection_bias.defined())
        copy_rows(old_router.selection_bias, router.selection_bias);
      float* rows = router.logits.data_ptr<float>();
      const std::int64_t columns = router.logits.size(1);
      for (std::int64_t i = old_router.logits.size(0) * columns; i < router.logits.numel(); ++i) {
        rows[i] *= 1.0f + kApart * static_cast<float>(2.0 * random.uniform() - 1.0);
      }
    }
  }
  return model;
}

void copy_selection_biases(const LanguageModel& from, LanguageModel& to) {
  at::NoGradGuard guard;
  for (std::size_t layer = 0; layer < to.blocks().size(); ++layer) {
    for (std::size_t r = 0; r < to.blocks()[layer].routers.size(); ++r) {
      const at::Tensor& bias = to.blocks()[layer].routers[r].selection_bias;
      if (bias.defined()) bias.copy_(from.blocks()[layer].routers[r].selection_bias);
    }
  }
}

std::unique_ptr<LanguageModel> moved_model(const LanguageModel& from, std::shared_ptr<const ExpertShare> share,
                                           Optimizer& optimizer) {
  at::NoGradGuard guard;
  TORCH_CHECK(!optimizer.factored, "moved_model: Adafactor's moments are not of single experts");
  auto model = std::make_unique<LanguageModel>(from.shape(), 0, share);
  const auto moved_to_share = [&](const at::Tensor& flat) {
    return moved_flat(flat, from.parameters(), *from.share(), *share);
  };
  model->parameters().values().copy_(moved_to_share(from.parameters().values()));
  for (at::Tensor* state : {&optimizer.first, &optimizer.second, &optimizer.average}) {
    if (state->defined()) *state = moved_to_share(*state);
  }
  copy_selection_biases(from, *model);
  return model;
}

}  // namespace junto
