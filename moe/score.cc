#include "moe/score.h"

#include <algorithm>
#include <limits>

#include "kernels/activation_functions.h"
#include "kernels/softmax.h"

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
  if (out.data() != logits.data()) std::copy(logits.begin(), logits.end(), out.begin());
  const float sum = exp_in_place(out, largest);
  for (float& value : out) value /= sum;
}

void score(Score rule, std::span<const float> logits, float largest, std::span<float> scores) {
  switch (rule) {
    case Score::kSoftmax:
      return softmax(logits, largest, scores);
    case Score::kSigmoid:
      return apply_activation(ActivationFunction::kSigmoid, logits, scores);
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
