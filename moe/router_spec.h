// RouterSpec: how a layer turns router logits [units, E] into a RoutePlan. Plain data, the same in a checkpoint's
// metadata, in training, at inference and in a request.
//
//   logits -> edits -> scores -> select -> weigh -> prune -> account
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/json.h"

namespace junto {

/// How logits [units, E] come from the router's input [units, D].
enum class LogitsKind : std::uint8_t {
  kLinear,    // x W^T (+ bias where the checkpoint has one)
  kCosine,    // cosine of x and the expert's row; `logit_scale` is one over the temperature
  kTwoLayer,  // W2 tanh(W1 x), `logits_hidden` wide
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
  int min_k = 0;          // the best so many stay in any case (DynMoLE's keep_top_k)
  bool strict = false;    // until the mass is more than p (Dynamic MoE as released), not just p
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
/// The best expert and those whose score is within `margin` of its, max_k at most: with 2 a token gets a second expert
/// where the gate is unsure (adaptive gating, Li et al., arXiv 2310.07188: softmax scores, 0.1).
struct Margin {
  float margin = 0.1f;
  int max_k = 2;
  bool of_pair = false;  // the distance as a share of the sum of both scores: the pair's scores rescaled to 1
  bool operator==(const Margin&) const = default;
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
/// Ids from outside: a unit has a key, which says its experts. Candidates all the same: masked ones are left out.
struct Given {
  enum class Key : std::uint8_t {
    kToken,  // the id of the unit's token (hash layers, Roller et al., arXiv 2106.04426)
    kClass,  // what the caller says: language, task, genre. A decoder's rows have none: a policy's mask does that
  } key = Key::kToken;
  int k = 1;              // experts by hash of (key, seed), different ones
  std::int64_t seed = 0;  // 0..2^53
  std::vector<std::vector<std::int32_t>> experts_of_key =
      {};  // not empty: a table, for keys 0..size - 1, in place of k
  bool operator==(const Given&) const = default;
};
/// Experts choose units: each takes its best units * factor / E of them, rounded down, one at least; of equal scores
/// the first unit (Zhou et al., arXiv 2202.09368). Units compete: only route() of many units means this, and no causal
/// decoder can run it. A unit alone gets every expert.
struct ExpertChoice {
  float factor = 2.0f;  // mean experts of a unit
  bool operator==(const ExpertChoice&) const = default;
};
using SelectRule = std::variant<TopK, TopP, Threshold, Gap, GroupLimited, SparseMixer, Margin, Given, ExpertChoice>;

/// Entropies of a distribution p, in nats:
///   kShannon  -sum p log p
///   kTsallis  (1 - sum p^order) / (order - 1)
///   kRenyi    log(sum p^order) / (1 - order)
enum class Entropy : std::uint8_t { kShannon, kTsallis, kRenyi };

/// An unsure unit gets all candidates, whatever the rule: one whose entropy of softmax(logits) + eps, as a share of the
/// largest that so many candidates can have, is above `threshold` (DynMoLE, Li et al., arXiv 2504.00661).
struct EntropyOverride {
  Entropy kind = Entropy::kTsallis;
  float order = 1.1f;      // within 1e-3 of 1: Shannon's
  float threshold = 0.9f;  // below 1
  float eps = 1e-5f;
  bool operator==(const EntropyOverride&) const = default;
};

/// Prune: rows that an expert takes of a batch of units that are routed together. Expert e takes
/// ceil(factor * slots of the batch * share_e); what is over is dropped: its unit gets nothing for it. A decoder routes
/// each unit by itself and drops nothing.
struct Capacity {
  float factor = 1.25f;
  enum class Priority : std::uint8_t {
    kOrder,   // earlier units first
    kChoice,  // every unit's best slot before any unit's second (Lepikhin et al., arXiv 2006.16668)
    kWeight,  // larger weights first (Riquelme et al., arXiv 2106.05974)
  } priority = Priority::kOrder;
  enum class Drop : std::uint8_t {
    kZero,         // the weights of what stays are as they were
    kRenormalise,  // what stays of a unit is scaled up to the sum of before
  } drop = Drop::kZero;
  std::vector<float> shares = {};  // [E], relative; empty: all alike
  bool operator==(const Capacity&) const = default;
};

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
  int logits_hidden = 0;         // width of kTwoLayer
  bool logit_residual = false;   // + W_g times the logits of the routed layer below, where there is one, before all
                                 // edits (gating residual, MoE++, Jin et al., arXiv 2410.07348)
  float logit_deviation = 0.0f;  // 0: as they are; else a unit's logits are scaled to this standard deviation (of a
                                 // sample) over its finite ones, where they differ, before the edits below (MoE++)
  float logit_scale = 1.0f;
  float logit_softcap = 0.0f;  // 0: none; else c * tanh(logit / c)
  Score score = Score::kSoftmax;
  bool selection_bias = false;  // a stored bias [E] joins the scores that select; the unbiased ones weigh
  SelectRule select = TopK{};
  std::optional<EntropyOverride> entropy_override = {};
  Weigh weigh = Weigh::kRaw;
  int weightless = 0;  // of the last so many experts weights are 0, before a renormalisation: what shares a unit with
                       // one gets all of its weight (released code of MoE++: 1, its zero expert)
  float renormalise_eps = 0.0f;
  float renormalise_min = 0.0f;  // Ernie 4.5: the sum is clamped to at least this
  float renormalise_p = 1.0f;    // the norm: 1 is the sum; DBRX (moe_normalize_expert_weights) has others
  float scale = 1.0f;            // routed_scaling_factor, after renormalisation
  WeightOn weight_on = WeightOn::kOutput;
  std::optional<Capacity> prune = {};

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

}  // namespace junto
