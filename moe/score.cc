#include "moe/score.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace junto {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

}  // namespace

float clean_logits(std::span<float> logits) {
  float largest = -kInfinity;
  for (float& logit : logits) {
    if (!(logit > -kInfinity)) logit = -kInfinity;  // NaN too
    logit = std::min(logit, std::numeric_limits<float>::max());
    largest = std::max(largest, logit);
  }
  return largest;
}

void softmax(std::span<const float> logits, float largest, std::span<float> out) {
  if (largest == -kInfinity) {
    std::fill(out.begin(), out.end(), 0.0f);
    return;
  }
  float sum = 0.0f;
  for (std::size_t e = 0; e < logits.size(); ++e) {
    out[e] = std::exp(logits[e] - largest);
    sum += out[e];
  }
  for (float& value : out) value /= sum;
}

void score(Score rule, std::span<const float> logits, float largest, std::span<float> scores) {
  switch (rule) {
    case Score::kSoftmax:
      return softmax(logits, largest, scores);
    case Score::kSigmoid:
      for (std::size_t e = 0; e < logits.size(); ++e) scores[e] = 1.0f / (1.0f + std::exp(-logits[e]));
      return;
    case Score::kLogit:
      std::copy(logits.begin(), logits.end(), scores.begin());
      return;
  }
}

void bias_scores(std::span<const float> logits, std::span<const float> scores, std::span<const float> bias,
                 std::span<float> biased_scores) {
  for (std::size_t e = 0; e < logits.size(); ++e) {
    const float biased = bias.empty() ? scores[e] : scores[e] + bias[e];
    biased_scores[e] = logits[e] > -kInfinity && biased > -kInfinity ? biased : -kInfinity;
  }
}

}  // namespace junto
