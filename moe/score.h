// score: logits [E] of one unit -> scores [E], fp32.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "moe/router_spec.h"

namespace junto {

/// One unit as select and weigh see it. An expert is a candidate where its logit is neither -inf nor NaN.
struct UnitScores {
  std::span<const float> logits;         // [E], edited; not candidates: -inf
  std::span<const float> scores;         // [E], unbiased: they weigh; not candidates: 0 (kLogit: -inf)
  std::span<const float> biased_scores;  // [E], they select; not candidates: -inf. Without a bias equal to `scores`
  Score score = Score::kSoftmax;         // what `scores` are
  std::int64_t key = 0;                  // what Given goes by
};

/// Makes logits fit for arithmetic: NaN becomes -inf (no candidate), +inf the largest float. Returns the largest.
float clean_logits(std::span<float> logits);

/// softmax over `logits`, of which `largest` is the largest; all 0 where that is -inf. In place is allowed.
void softmax(std::span<const float> logits, float largest, std::span<float> out);

/// Scores of clean logits; kLogit: the logits themselves.
void score(Score rule, std::span<const float> logits, float largest, std::span<float> scores);

/// biased_scores = scores + bias (empty: none) for candidates, -inf for others and where the sum is NaN.
void bias_scores(std::span<const float> logits, std::span<const float> scores, std::span<const float> bias,
                 std::span<float> biased_scores);

}  // namespace junto
