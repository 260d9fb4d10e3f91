#include "moe/route.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "moe/prefer_resident.h"
#include "moe/prune.h"
#include "moe/score.h"
#include "moe/select.h"
#include "moe/weigh.h"

namespace junto {
namespace {

constexpr float kForbidden = -std::numeric_limits<float>::infinity();

SelectRule rule_under(const RouterSpec& spec, const LayerPolicy& policy) {
  SelectRule rule = spec.select;
  if (policy.top_p) {
    rule = TopP{.p = *policy.top_p, .inclusive = true, .max_k = policy.max_experts ? 0 : max_experts_per_unit(spec)};
  } else if (policy.threshold) {
    rule = Threshold{.threshold = *policy.threshold, .min_k = 0, .max_k = 0};
  }
  if (policy.top_k) rule = with_bound(std::move(rule), *policy.top_k);
  if (policy.max_experts && max_chosen(rule, spec.experts) > *policy.max_experts) {
    rule = with_bound(std::move(rule), *policy.max_experts);
  }
  return rule;
}

Weigh weigh_under(const RouterSpec& spec, const SelectRule& rule, const LayerPolicy& policy) {
  Weigh weigh = spec.weigh;
  if (std::holds_alternative<SparseMixer>(spec.select) && !std::holds_alternative<SparseMixer>(rule)) {
    weigh = Weigh::kSoftmaxOfChosen;
  }
  if (!policy.renormalise) return weigh;
  switch (weigh) {
    case Weigh::kRaw:
    case Weigh::kRenormalised:
      return *policy.renormalise ? Weigh::kRenormalised : Weigh::kRaw;
    case Weigh::kSoftmaxOfAll:
    case Weigh::kSoftmaxOfChosen:
      return *policy.renormalise ? Weigh::kSoftmaxOfChosen : Weigh::kSoftmaxOfAll;
    case Weigh::kConstant:
      return weigh;
  }
  return weigh;
}

/// Ids outside 0..E-1 are check_policy()'s to refuse; here they have no effect.
std::vector<float> edits_under(int experts, const LayerPolicy& policy) {
  if (policy.forbidden.empty() && policy.allowed.empty() && policy.offsets.empty()) return {};
  std::vector<float> edits(experts, policy.allowed.empty() ? 0.0f : kForbidden);
  const auto is_expert = [&](std::int32_t id) { return id >= 0 && id < experts; };
  for (const std::int32_t id : policy.allowed) {
    if (is_expert(id)) edits[id] = 0.0f;
  }
  for (const auto& [id, offset] : policy.offsets) {
    if (is_expert(id)) edits[id] += offset;
  }
  for (const std::int32_t id : policy.forbidden) {
    if (is_expert(id)) edits[id] = kForbidden;
  }
  return edits;
}

/// What logits are multiplied by so that the finite ones have the spec's standard deviation.
float factor_of_deviation(float wanted, std::span<const float> logits) {
  double sum = 0.0, squares = 0.0;
  int count = 0;
  for (const float logit : logits) {
    if (std::isfinite(logit)) sum += logit, ++count;
  }
  if (count < 2) return 1.0f;
  const double mean = sum / count;
  for (const float logit : logits) {
    if (std::isfinite(logit)) squares += (logit - mean) * (logit - mean);
  }
  const double factor = wanted / std::sqrt(squares / (count - 1));
  return squares > 0.0 && std::isfinite(factor) ? static_cast<float>(factor) : 1.0f;
}

/// What is -inf stays -inf: neither a negative scale nor the cap makes a candidate of it.
void edit_logits(const RouterSpec& spec, std::span<const float> edits, std::span<float> logits) {
  const float factor = spec.logit_deviation > 0.0f ? factor_of_deviation(spec.logit_deviation, logits) : 1.0f;
  if (factor != 1.0f || spec.logit_scale != 1.0f || spec.logit_softcap > 0.0f) {
    for (float& logit : logits) {
      if (!(logit > kForbidden)) continue;
      logit *= factor;
      logit *= spec.logit_scale;
      if (spec.logit_softcap > 0.0f) logit = spec.logit_softcap * std::tanh(logit / spec.logit_softcap);
    }
  }
  for (std::size_t e = 0; e < edits.size(); ++e) logits[e] += edits[e];
}

/// Insertion sort: the slots are few, and nearly in order already.
void sort_slots(std::span<std::int32_t> experts, std::span<float> weights) {
  for (std::size_t i = 1; i < experts.size(); ++i) {
    const std::int32_t expert = experts[i];
    const float weight = weights[i];
    std::size_t place = i;
    for (; place > 0; --place) {
      const bool before = weight > weights[place - 1] || (weight == weights[place - 1] && expert < experts[place - 1]);
      if (!before) break;
      experts[place] = experts[place - 1];
      weights[place] = weights[place - 1];
    }
    experts[place] = expert;
    weights[place] = weight;
  }
}

/// Edits, scores and biases the logits of one unit in place and in the scratch.
UnitScores score_unit(const RouterSpec& spec, std::span<const float> edits, std::span<float> logits,
                      std::span<const float> selection_bias, std::int64_t key, RouteScratch& scratch) {
  scratch.scores.resize(logits.size());
  edit_logits(spec, edits, logits);
  const float largest = clean_logits(logits);
  score(spec.score, logits, largest, scratch.scores);
  scratch.biased_scores.resize(logits.size());
  bias_scores(logits, scratch.scores, spec.selection_bias ? selection_bias : std::span<const float>(),
              scratch.biased_scores);
  return {.logits = logits,
          .scores = scratch.scores,
          .biased_scores = scratch.biased_scores,
          .score = spec.score,
          .key = key};
}

/// Weighs what scratch.chosen holds and appends it.
void append_slots(const RouterSpec& spec, const UnitScores& unit, RouteScratch& scratch, RoutePlan& plan) {
  scratch.weights.resize(scratch.chosen.size());
  weigh(spec, unit, scratch.chosen, scratch.weights);
  if (spec.scale != 1.0f) {
    for (float& weight : scratch.weights) weight *= spec.scale;
  }
  sort_slots(scratch.chosen, scratch.weights);
  plan.expert.insert(plan.expert.end(), scratch.chosen.begin(), scratch.chosen.end());
  plan.weight.insert(plan.weight.end(), scratch.weights.begin(), scratch.weights.end());
  plan.offset.push_back(static_cast<std::int32_t>(plan.expert.size()));
}

/// What of memory routing sees.
struct Preference {
  float margin = 0.0f;
  std::span<const std::uint8_t> resident;  // [E] or empty
};

void choose(const RouterSpec& spec, const UnitScores& unit, const Preference& preference, RouteScratch& scratch) {
  select(spec.select, unit, scratch.select, scratch.chosen);
  if (!prefer_resident(preference.margin, preference.resident, scratch.biased_scores)) return;
  scratch.unswayed = scratch.chosen;
  select(spec.select, unit, scratch.select, scratch.chosen);
  scratch.preferred += std::ranges::count_if(
      scratch.chosen, [&](std::int32_t e) { return std::ranges::find(scratch.unswayed, e) == scratch.unswayed.end(); });
}

void route_edited(const RouterSpec& spec, std::span<const float> edits, std::span<float> logits,
                  std::span<const float> selection_bias, std::int64_t key, RouteScratch& scratch, RoutePlan& plan,
                  std::span<float> scores_out, const Preference& preference = {}) {
  const UnitScores unit = score_unit(spec, edits, logits, selection_bias, key, scratch);
  if (!scores_out.empty()) std::copy(scratch.scores.begin(), scratch.scores.end(), scores_out.begin());
  if (spec.entropy_override && is_unsure(*spec.entropy_override, unit, scratch.select)) {
    select(TopK{static_cast<int>(logits.size())}, unit, scratch.select, scratch.chosen);
  } else {
    choose(spec, unit, preference, scratch);
  }
  append_slots(spec, unit, scratch, plan);
}

/// Units that compete: all are scored before one is chosen, and again to be weighed.
void route_by_experts(const CompiledRouter& router, const ExpertChoice& rule, MatrixView<float> logits,
                      std::span<const float> selection_bias, RouteScratch& scratch, RoutePlan& plan) {
  const std::size_t experts = static_cast<std::size_t>(logits.cols);
  scratch.logits.resize(static_cast<std::size_t>(logits.rows) * experts);
  const MatrixView<float> biased(scratch.logits.data(), logits.rows, logits.cols);
  for (std::int64_t u = 0; u < logits.rows; ++u) {
    const std::span<float> row = logits.row(u), to = biased.row(u);
    std::copy(row.begin(), row.end(), to.begin());
    const UnitScores unit = score_unit(router.spec, router.edits, to, selection_bias, 0, scratch);
    std::copy(unit.biased_scores.begin(), unit.biased_scores.end(), to.begin());
  }
  select_units(rule, biased, scratch.of_units);
  for (std::int64_t u = 0; u < logits.rows; ++u) {
    const UnitScores unit = score_unit(router.spec, router.edits, logits.row(u), selection_bias, 0, scratch);
    scratch.chosen = scratch.of_units[static_cast<std::size_t>(u)];
    append_slots(router.spec, unit, scratch, plan);
  }
}

}  // namespace

CompiledRouter compile_router(const RouterSpec& spec, const LayerPolicy& policy) {
  CompiledRouter router{.spec = spec, .edits = edits_under(spec.experts, policy)};
  router.spec.select = rule_under(spec, policy);
  router.spec.weigh = weigh_under(spec, router.spec.select, policy);
  router.prefer_resident = policy.prefer_resident.value_or(0.0f);
  if (policy.top_k || policy.top_p || policy.threshold || policy.max_experts) router.spec.entropy_override.reset();
  return router;
}

void route_unit(const CompiledRouter& router, std::span<float> logits, std::span<const float> selection_bias,
                RouteScratch& scratch, RoutePlan& plan, std::span<float> scores_out, std::int64_t key,
                std::span<const std::uint8_t> resident) {
  route_edited(router.spec, router.edits, logits, selection_bias, key, scratch, plan, scores_out,
               {router.prefer_resident, resident});
}

void route_unit(const RouterSpec& spec, const LayerPolicy& policy, std::span<float> logits,
                std::span<const float> selection_bias, RouteScratch& scratch, RoutePlan& plan,
                std::span<float> scores_out, std::int64_t key, std::span<const std::uint8_t> resident) {
  if (policy.empty()) return route_edited(spec, {}, logits, selection_bias, key, scratch, plan, scores_out);
  if (!(scratch.compiled_policy == policy) || !(scratch.compiled_spec == spec)) {
    scratch.compiled = compile_router(spec, policy);
    scratch.compiled_spec = spec;
    scratch.compiled_policy = policy;
  }
  route_unit(scratch.compiled, logits, selection_bias, scratch, plan, scores_out, key, resident);
}

void route(const CompiledRouter& router, MatrixView<float> logits, std::span<const float> selection_bias,
           RouteScratch& scratch, RoutePlan& plan, std::span<const std::int64_t> keys,
           std::vector<std::int32_t>* kept) {
  if (const auto* rule = std::get_if<ExpertChoice>(&router.spec.select)) {
    route_by_experts(router, *rule, logits, selection_bias, scratch, plan);
  } else {
    for (std::int64_t u = 0; u < logits.rows; ++u) {
      const std::int64_t key = keys.empty() ? 0 : keys[static_cast<std::size_t>(u)];
      route_unit(router, logits.row(u), selection_bias, scratch, plan, {}, key);
    }
  }
  if (router.spec.prune) {
    prune(*router.spec.prune, router.spec.experts, plan, kept);
  } else if (kept != nullptr) {
    kept->resize(plan.expert.size());
    std::iota(kept->begin(), kept->end(), 0);
  }
}

void route(const RouterSpec& spec, const LayerPolicy& policy, MatrixView<float> logits,
           std::span<const float> selection_bias, RouteScratch& scratch, RoutePlan& plan) {
  route(compile_router(spec, policy), logits, selection_bias, scratch, plan);
}

}  // namespace junto
