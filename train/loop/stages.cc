#include "train/loop/stages.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <memory>

#include "base/error.h"
#include "base/random.h"
#include "moe/json_fields.h"
#include "train/loop/adafactor.h"

namespace junto {
namespace {

constexpr float kApart = 1e-6f;  // of a router's row, between copies of an expert

std::vector<std::string> parse_patterns(const Json& json, JsonFields& fields) {
  std::vector<std::string> out;
  if (!json.is_array()) fields.fail_at("freeze", quoted(json) + ", expected a list of patterns of parameters' names");
  for (const Json& pattern : json) {
    if (!pattern.is_string()) fields.fail_at("freeze", quoted(json) + ", expected a list of texts");
    out.push_back(pattern.get<std::string>());
  }
  return out;
}

Stage parse_stage(const Json& json, JsonFields& fields) {
  Stage stage;
  // Checked as a float, taken as it is written: 0.2 of ten steps is two of them.
  if (fields.number("from", 0.0f, 1.0f, "Share of the run; without: 0")) stage.from = json["from"].get<double>();
  const Json* freeze = fields.by_hand("freeze", R"({"type": "array", "items": {"type": "string"}})",
                                      "Patterns of names of parameters that are not updated");
  if (freeze != nullptr) stage.freeze = parse_patterns(*freeze, fields);
  stage.experts = fields.integer("experts", 1, 1 << 20, "Experts grow to so many").value_or(0);
  if (const Json* router = fields.any("router", "Other rules of routing from here on"))
    stage.router = parse_router_spec(*router, fields.where());
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
    Stage stage = parse_stage(*one, fields);
    if (!fields.finish()) return out;
    if (stage.experts > 0 && stage.experts < experts)
      fields.fail_at("experts", std::to_string(stage.experts) + ", expected at least " + std::to_string(experts));
    experts = std::max(experts, stage.experts);
    if (stage.router && stage.router->experts != experts) {
      fields.fail_at("router",
                     "of " + std::to_string(stage.router->experts) + " experts, expected " + std::to_string(experts));
    }
    if ((stage.router || stage.experts > 0) && model.dense_layers == model.layers)
      fields.fail_here("names experts, but no layer of the model has any");
    if (stage.experts > model.router.experts && (model.free_experts() > 0 || model.router.logit_residual))
      fields.fail_at("experts", std::to_string(stage.experts) + ", expected none in a model with free experts or a " +
                                    "gating residual: these do not grow");
    RouterSpec now = stage.router.value_or(stage_at(out, model.router, 1.0).router);
    now.experts = static_cast<int>(experts);
    if (stage.router || stage.experts > 0) check_router_spec(now, std::string(where) + ": " + fields.path());
    if (!out.empty() && stage.from <= out.back().from)
      fields.fail_at(
          "from", json_number(static_cast<float>(stage.from)).dump() + ", expected more than that of the stage before");
    out.push_back(std::move(stage));
  }
  return out;
}

StageState stage_at(const std::vector<Stage>& stages, const RouterSpec& router, double share) {
  StageState state{.count = 0, .freeze = {}, .router = router};
  for (const Stage& stage : stages) {
    if (stage.from > share) break;
    ++state.count;
    if (stage.freeze) state.freeze = *stage.freeze;
    if (stage.router) state.router = *stage.router;
    if (stage.experts > 0) state.router.experts = static_cast<int>(stage.experts);
  }
  return state;
}

double value_at(const Ramp& ramp, double share) {
  if (share <= ramp.points.front().first) return ramp.points.front().second;
  for (std::size_t i = 1; i < ramp.points.size(); ++i) {
    const auto [begin, first] = ramp.points[i - 1];
    const auto [end, last] = ramp.points[i];
    if (share < end) return first + (last - first) * (share - begin) / (end - begin);
  }
  return ramp.points.back().second;
}

std::unique_ptr<LanguageModel> grown_model(const LanguageModel& from, const LanguageModelShape& shape,
                                           std::uint64_t seed, Optimizer& optimizer) {
  at::NoGradGuard guard;
  auto model = std::make_unique<LanguageModel>(shape, seed);
  const Parameters &old = from.parameters(), &now = model->parameters();
  const at::Tensor values = moved(old.values(), old, now);
  now.values().copy_(values);
  optimizer.first = moved(optimizer.first, old, now);
  optimizer.second = optimizer.factored ? moved_factors(optimizer.second, old, now) : moved(optimizer.second, old, now);
  optimizer.average = moved(optimizer.average, old, now);
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

}  // namespace junto
