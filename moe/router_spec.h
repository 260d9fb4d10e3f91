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

/// Selection rules; moe/select.h holds one free function for each. Ties: lowest id. NaN is never chosen.
struct TopK {
  int k = 1;
};
struct TopP {
  float p = 0.5f;  // smallest set whose mass reaches p (inclusive: with the expert that crosses it)
  bool inclusive = true;
  int max_k = 0;  // 0: no bound
};
struct Threshold {
  float threshold = 0.0f;  // scores >= threshold
  int min_k = 0;
  int max_k = 0;
};
struct Gap {
  int max_k = 4;  // keeps the experts above the largest drop between sorted scores
};
/// DeepSeek-V2/V3: experts stand in `groups` equal groups; the best `top_groups` groups stay, then top-k.
struct GroupLimited {
  int k = 1;
  int groups = 1;
  int top_groups = 1;
  enum class GroupScore : std::uint8_t { kMax, kTopTwoSum } group_score = GroupScore::kTopTwoSum;
};
/// Phi-3.5-MoE: k rounds; each takes the best remaining logit and weighs it by a softmax over the logits within
/// 2 * jitter_eps of it, relative to max(|logit|, best) (Liu et al., arXiv 2409.12136). The weights are final.
struct SparseMixer {
  int k = 2;
  float jitter_eps = 0.01f;
};
using SelectRule = std::variant<TopK, TopP, Threshold, Gap, GroupLimited, SparseMixer>;

/// Weights of the chosen experts, from the unbiased scores.
enum class Weigh : std::uint8_t {
  kRaw,              // the score
  kRenormalised,     // divided by the sum over the chosen (+ renormalise_eps, or at least renormalise_min)
  kSoftmaxOfChosen,  // softmax over the chosen experts' logits
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
  float scale = 1.0f;            // routed_scaling_factor, after renormalisation
  WeightOn weight_on = WeightOn::kOutput;

  bool operator==(const RouterSpec&) const;
};

/// The k of the rule: the most experts a unit can get (E where the rule has no bound).
int max_experts_per_unit(const RouterSpec& spec);

/// Versioned JSON, as `junto.router` holds it.
Json to_json(const RouterSpec& spec);
/// Throws Error `where: router: ...` on an unknown version, stage or key, by name, and on values out of range.
RouterSpec parse_router_spec(const Json& json, std::string_view where);

}  // namespace junto
