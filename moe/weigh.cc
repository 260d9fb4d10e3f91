#include "moe/weigh.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace junto {
namespace {

/// softmax over the logits of `over`, for the experts in `chosen`.
template <class Range>
void weigh_by_softmax(std::span<const float> logits, std::span<const std::int32_t> chosen, const Range& over,
                      std::span<float> weights) {
  float largest = -std::numeric_limits<float>::infinity();
  for (const float logit : over) largest = std::max(largest, logit);
  float sum = 0.0f;
  for (const float logit : over) sum += std::exp(logit - largest);
  for (std::size_t i = 0; i < chosen.size(); ++i) weights[i] = std::exp(logits[chosen[i]] - largest) / sum;
}

}  // namespace

void renormalise(std::span<float> weights, float p, float eps, float min) {
  float norm = 0.0f;
  if (p == 1.0f) {
    for (const float weight : weights) norm += weight;
  } else {
    for (const float weight : weights) norm += std::pow(std::fabs(weight), p);
    norm = std::pow(norm, 1.0f / p);
  }
  const float divisor = std::max(norm + eps, min);
  if (!(divisor > 0.0f)) return;
  for (float& weight : weights) weight /= divisor;
}

void weigh(const RouterSpec& spec, const UnitScores& unit, std::span<const std::int32_t> chosen,
           std::span<float> weights) {
  if (chosen.empty()) return;
  if (const auto* rule = std::get_if<SparseMixer>(&spec.select)) {
    weigh_sparse_mixer(*rule, unit, chosen, weights);
  } else if (spec.weigh == Weigh::kConstant) {
    std::fill(weights.begin(), weights.end(), 1.0f);
  } else if (spec.weigh == Weigh::kSoftmaxOfAll) {
    weigh_by_softmax(unit.logits, chosen, unit.logits, weights);
  } else {
    const std::span<const float> values = spec.weigh == Weigh::kSoftmaxOfChosen ? unit.logits : unit.scores;
    for (std::size_t i = 0; i < chosen.size(); ++i) weights[i] = values[chosen[i]];
    if (spec.weigh == Weigh::kSoftmaxOfChosen)
      softmax(weights, *std::max_element(weights.begin(), weights.end()), weights);
  }
  const int with_weight = static_cast<int>(unit.logits.size()) - spec.weightless;
  for (std::size_t i = 0; spec.weightless > 0 && i < chosen.size(); ++i) {
    if (chosen[i] >= with_weight) weights[i] = 0.0f;
  }
  if (spec.weigh == Weigh::kRenormalised) {
    renormalise(weights, spec.renormalise_p, spec.renormalise_eps, spec.renormalise_min);
  }
}

}  // namespace junto
