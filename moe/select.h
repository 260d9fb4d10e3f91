// select: scores of one unit -> the experts it gets, best first. One function for each rule of router_spec.h.
//
// All rules: fp32 comparisons of the biased scores; ties take the lowest id; only candidates (biased score > -inf) can
// be chosen, so a unit without candidates gets none. `chosen` is replaced; the order is biased score descending, then
// id.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "moe/router_spec.h"
#include "moe/score.h"
#include "tensor/view.h"

namespace junto {

using Chosen = std::vector<std::int32_t>;

/// Buffers of the rules that need them.
struct SelectScratch {
  std::vector<float> values;
  std::vector<float> group_scores;
  Chosen groups;
};

void select(const TopK& rule, const UnitScores& unit, SelectScratch& scratch, Chosen& chosen);
void select(const TopP& rule, const UnitScores& unit, SelectScratch& scratch, Chosen& chosen);
void select(const Threshold& rule, const UnitScores& unit, SelectScratch& scratch, Chosen& chosen);
void select(const Gap& rule, const UnitScores& unit, SelectScratch& scratch, Chosen& chosen);
void select(const GroupLimited& rule, const UnitScores& unit, SelectScratch& scratch, Chosen& chosen);
/// Its rounds take the best remaining candidate each, so it chooses as TopK; weigh_sparse_mixer() is what differs.
void select(const SparseMixer& rule, const UnitScores& unit, SelectScratch& scratch, Chosen& chosen);

void select(const Margin& rule, const UnitScores& unit, SelectScratch& scratch, Chosen& chosen);
/// A key beyond the table gets nothing: who routes checks keys.
void select(const Given& rule, const UnitScores& unit, SelectScratch& scratch, Chosen& chosen);
/// Of a unit alone: all candidates. select_units() is for many.
void select(const ExpertChoice& rule, const UnitScores& unit, SelectScratch& scratch, Chosen& chosen);

/// True where the override gives `unit` all candidates.
bool is_unsure(const EntropyOverride& rule, const UnitScores& unit, SelectScratch& scratch);

/// The units of a batch for expert choice: biased_scores [units, E] -> the experts of each unit, best first.
void select_units(const ExpertChoice& rule, MatrixView<const float> biased_scores, std::vector<Chosen>& chosen);

void select(const SelectRule& rule, const UnitScores& unit, SelectScratch& scratch, Chosen& chosen);

/// The `k` largest of `values`, largest first, ties by lowest id; -inf and NaN are left out.
void largest_k(std::span<const float> values, int k, Chosen& chosen);

/// The most experts that the rule can choose of `experts`.
int max_chosen(const SelectRule& rule, int experts);

/// The rule with that most set to `bound` (>= 1). Of expert choice: top-k, for a bound on units leaves experts no
/// choice.
SelectRule with_bound(SelectRule rule, int bound);

/// A rule in JSON: {"rule": "top_k", "k": 2}; the table of rules is in select.cc.
Json to_json(const SelectRule& rule);
/// Throws Error naming `where`, the unknown rule or key and the nearest valid one, or a value out of range.
SelectRule parse_select_rule(const Json& json, int experts, std::string_view where);

}  // namespace junto
