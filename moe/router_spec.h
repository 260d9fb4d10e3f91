// RouterSpec: how a layer turns router logits [units, E] into a RoutePlan. Plain data, the same in a checkpoint's
// metadata, in training, at inference and in a request.
//
//   logits -> edits -> scores -> select -> weigh -> prune -> account
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/json.h"

namespace junto {

/// How logits [units, E] come from the router's input [units, D].
enum class LogitsKind : std::uint8_t {
  kLinear,    // x W^T (+ bias where the checkpoint has one)
  kCosine,    // cosine of x and the expert's row, times `logit_scale`
  kTwoLayer,  // W2 tanh(W1 x)
};

/// Scores over the experts of one unit. Selection and weighting both see them.
enum class Score : std::uint8_t { kSoftmax, kSigmoid, kLogit };

/// Selection rules; moe/select.h holds one free function for each. Ties: lowest id. NaN is never chosen. An expert
/// whose logit is -inf or NaN is no candidate. All rules see biased scores where the spec has a selection bias.
struct TopK {
  int k = 1;
  bool operator==(const TopK&) const = default;
};
/// Best first, until the mass of the chosen reaches p. The mass of an expert is its unbiased score as a share of all
/// candidates' (of their softmax where the scores are logits).
struct TopP {
  float p = 0.5f;
  bool inclusive = true;  // with the expert whose mass crosses p, else without it; at least one expert
  int max_k = 0;          // 0: no bound
  bool operator==(const TopP&) const = default;
};
/// The experts whose unbiased score is at least `threshold`; the best min_k in any case, the best max_k at most.
struct Threshold {
  float threshold = 0.0f;
  int min_k = 0;
  int max_k = 0;  // 0: no bound
  bool operator==(const Threshold&) const = default;
};
/// The experts above the largest drop between neighbours in sorted order, 1 to max_k; of equal drops the first.
struct Gap {
  int max_k = 4;
  bool operator==(const Gap&) const = default;
};
/// DeepSeek-V2/V3: experts stand in `groups` equal groups; the best `top_groups` groups stay, then top-k. Experts of
/// the other groups are no candidates, as in transformers 5; older releases set their scores to 0, so that one of them
/// could win over a negative biased score.
struct GroupLimited {
  int k = 1;
  int groups = 1;
  int top_groups = 1;
  enum class GroupScore : std::uint8_t { kMax, kTopTwoSum } group_score = GroupScore::kTopTwoSum;
  bool operator==(const GroupLimited&) const = default;
};
/// Phi-3.5-MoE: k rounds; each takes the best remaining logit and weighs it by a softmax over the logits within
/// 2 * jitter_eps of it, relative to max(|logit|, best) (Liu et al., arXiv 2409.12136). The rule weighs what it
/// chooses: Weigh has no say, but for a renormalisation that a policy asks for.
struct SparseMixer {
  int k = 2;
  float jitter_eps = 0.01f;
  bool operator==(const SparseMixer&) const = default;
};
using SelectRule = std::variant<TopK, TopP, Threshold, Gap, GroupLimited, SparseMixer>;

/// Weights of the chosen experts, from the unbiased scores.
enum class Weigh : std::uint8_t {
  kRaw,              // the score
  kRenormalised,     // divided by max(norm of the chosen + renormalise_eps, renormalise_min); untouched where that is 0
  kSoftmaxOfChosen,  // softmax over the chosen experts' logits
  kSoftmaxOfAll,     // softmax over all candidates' logits, whatever the scores are
  kConstant,         // 1
};

/// Where a weight multiplies: on the expert's output (nearly all), or on its input (Llama 4).
enum class WeightOn : std::uint8_t { kOutput, kInput };

struct RouterSpec {
  int version = 1;
  int experts = 0;  // E, zero-computation experts included
  LogitsKind logits = LogitsKind::kLinear;
  float logit_scale = 1.0f;
  float logit_softcap = 0.0f;  // 0: none; else c * tanh(logit / c)
  Score score = Score::kSoftmax;
  bool selection_bias = false;  // a stored bias [E] joins the scores that select; the unbiased ones weigh
  SelectRule select = TopK{};
  Weigh weigh = Weigh::kRaw;
  float renormalise_eps = 0.0f;
  float renormalise_min = 0.0f;  // Ernie 4.5: the sum is clamped to at least this
  float renormalise_p = 1.0f;    // the norm: 1 is the sum; DBRX (moe_normalize_expert_weights) has others
  float scale = 1.0f;            // routed_scaling_factor, after renormalisation
  WeightOn weight_on = WeightOn::kOutput;

  bool operator==(const RouterSpec&) const = default;
};

/// The k of the rule: the most experts a unit can get (E where the rule has no bound), never over E.
int max_experts_per_unit(const RouterSpec& spec);

/// Versioned JSON, as `junto.router` holds it.
Json to_json(const RouterSpec& spec);
/// Throws Error `where: router: ...` on an unknown version, stage or key, by name, and on values out of range.
RouterSpec parse_router_spec(const Json& json, std::string_view where);

/// The range checks of parse_router_spec(), for specs that come from elsewhere (an architecture's own keys).
void check_router_spec(const RouterSpec& spec, std::string_view where);

/// The range checks of parse_router_spec(), for specs that come from elsewhere (an architecture's own keys).
void check_router_spec(const RouterSpec& spec, std::string_view where);

}  // namespace junto
