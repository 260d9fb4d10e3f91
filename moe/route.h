// route: RouterSpec + policy + logits -> RoutePlan.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "moe/route_plan.h"
#include "moe/router_spec.h"
#include "moe/routing_policy.h"
#include "moe/select.h"
#include "tensor/view.h"

namespace junto {

/// A layer's router under one policy, worked out once: what route_unit() needs for each unit and nothing else.
struct CompiledRouter {
  RouterSpec spec;               // the model's, changed by the policy
  std::vector<float> edits;      // [E] added to the logits, -inf: never chosen; empty: none
  float prefer_resident = 0.0f;  // margin
};

/// What the policy changes:
///   top_k        the most experts of the model's rule, or of the rule that top_p or threshold puts in its place
///   top_p        rule TopP, at most the model's k experts unless top_k or max_experts says otherwise
///   threshold    rule Threshold, no bound of its own
///   max_experts  upper bound, whatever the rule
///   any of them  puts the model's entropy override away
///   prefer_resident  see moe/prefer_resident.h
///   renormalise  raw <-> renormalised, softmax of all <-> softmax of chosen; constant weights stay
/// Everything else stays the model's. Where top_p or threshold replaces SparseMixer, whose weights go with its own
/// choice, the weights are the softmax of the chosen (renormalise=false: of all). Masks are edits of logits: scores are
/// a softmax over what is left.
CompiledRouter compile_router(const RouterSpec& spec, const LayerPolicy& policy);

/// Scratch that is kept from call to call so that routing does not allocate.
struct RouteScratch {
  std::vector<float> scores;         // [E]
  std::vector<float> biased_scores;  // [E]
  std::vector<float> weights;        // [chosen]
  std::vector<float> logits;         // [units, E], of a batch whose units compete
  std::vector<Chosen> of_units;      // [units], the same
  Chosen chosen;
  Chosen unswayed;             // what would be chosen with all experts in memory
  std::int64_t preferred = 0;  // slots that went to an expert in memory for the margin's sake: counts up
  SelectScratch select;
  // The last spec and policy that route_unit() compiled for itself.
  RouterSpec compiled_spec;
  LayerPolicy compiled_policy;
  CompiledRouter compiled;
};

/// Appends the slots of one unit to `plan`: by final weight descending, then id ascending. `logits` [E] are edited in
/// place (logit_scale, logit_softcap, the policy's offsets, masks -> -inf, NaN -> -inf); `selection_bias` is [E] or
/// empty. The result depends on this unit's logits and key alone: expert choice sees a batch of one, and nothing is
/// pruned. A unit without candidates gets no slots. `scores_out` [E] receives the unbiased scores where it is not
/// empty; `key` is what Given goes by. `resident` [E] says which experts are in memory, for a policy that prefers
/// these; empty: no preference.
void route_unit(const CompiledRouter& router, std::span<float> logits, std::span<const float> selection_bias,
                RouteScratch& scratch, RoutePlan& plan, std::span<float> scores_out = {}, std::int64_t key = 0,
                std::span<const std::uint8_t> resident = {});

/// The same; a policy that is not empty is compiled, and kept in the scratch for the next unit under it.
void route_unit(const RouterSpec& spec, const LayerPolicy& policy, std::span<float> logits,
                std::span<const float> selection_bias, RouteScratch& scratch, RoutePlan& plan,
                std::span<float> scores_out = {}, std::int64_t key = 0, std::span<const std::uint8_t> resident = {});

/// All rows of `logits` [units, E] together, into a plan that is empty before: experts choose among all of them, and
/// the spec's prune stage takes out what is over capacity. `keys` [units] or empty: 0. `kept`: see prune(); every slot
/// where nothing is pruned.
void route(const CompiledRouter& router, MatrixView<float> logits, std::span<const float> selection_bias,
           RouteScratch& scratch, RoutePlan& plan, std::span<const std::int64_t> keys = {},
           std::vector<std::int32_t>* kept = nullptr);

/// The same under one policy.
void route(const RouterSpec& spec, const LayerPolicy& policy, MatrixView<float> logits,
           std::span<const float> selection_bias, RouteScratch& scratch, RoutePlan& plan);

}  // namespace junto
