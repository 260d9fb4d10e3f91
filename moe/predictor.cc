#include "moe/predictor.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "base/error.h"

namespace junto {
namespace {

constexpr std::pair<std::string_view, Prefetch> kPrefetchNames[] = {{"none", Prefetch::kNone},
                                                                    {"previous-token", Prefetch::kPreviousToken},
                                                                    {"previous-layer", Prefetch::kPreviousLayer},
                                                                    {"next-router", Prefetch::kNextRouter},
                                                                    {"frequency", Prefetch::kFrequency}};

}  // namespace

Prefetch parse_prefetch(std::string_view name) {
  for (const auto& [known, rule] : kPrefetchNames) {
    if (name == known) return rule;
  }
  fail("--prefetch",
       "is " + printable(name) + ", expected none, previous-token, previous-layer, next-router or frequency");
}

std::string_view prefetch_name(Prefetch rule) {
  for (const auto& [name, known] : kPrefetchNames) {
    if (rule == known) return name;
  }
  return "";
}

Predictor::Predictor(Prefetch rule, const std::vector<int>& experts_of_layer) : rule_(rule) {
  for (const int experts : experts_of_layer) weight_.emplace_back(static_cast<std::size_t>(experts), 0.0f);
  last_.resize(weight_.size());
}

void Predictor::used(int layer, std::span<const std::int32_t> experts) {
  static const auto kKept = static_cast<float>(std::exp2(-1 / kHalfLife_tokens));
  const auto index = static_cast<std::size_t>(layer);
  last_layer_ = layer;
  last_[index].assign(experts.begin(), experts.end());
  for (float& weight : weight_[index]) weight *= kKept;
  for (const std::int32_t e : experts) weight_[index][static_cast<std::size_t>(e)] += 1;
}

void Predictor::predict(int layer, std::size_t count, std::span<const float> scores, std::vector<std::int32_t>& out) {
  const auto index = static_cast<std::size_t>(layer);
  likely_.assign(weight_[index].size(), 0.0f);
  const auto add = [&](std::span<const std::int32_t> experts) {
    for (const std::int32_t e : experts) {
      if (static_cast<std::size_t>(e) < likely_.size()) likely_[static_cast<std::size_t>(e)] = 1;
    }
  };
  switch (rule_) {
    case Prefetch::kNone:
      break;
    case Prefetch::kPreviousToken:
      add(last_[index]);
      break;
    case Prefetch::kPreviousLayer:
      if (last_layer_ >= 0) add(last_[static_cast<std::size_t>(last_layer_)]);
      break;
    case Prefetch::kNextRouter:
      std::copy_n(scores.begin(), std::min(scores.size(), likely_.size()), likely_.begin());
      break;
    case Prefetch::kFrequency:
      likely_ = weight_[index];
      break;
  }
  out.clear();
  for (std::size_t e = 0; e < likely_.size(); ++e) {
    if (likely_[e] > 0) out.push_back(static_cast<std::int32_t>(e));
  }
  std::ranges::stable_sort(out, [&](std::int32_t a, std::int32_t b) {
    return likely_[static_cast<std::size_t>(a)] > likely_[static_cast<std::size_t>(b)];
  });
  if (out.size() > count) out.resize(count);
}

int Predictor::layer_after(int layer) const {
  const int layers = static_cast<int>(weight_.size());
  for (int step = 1; step <= layers; ++step) {
    const int next = (layer + step) % layers;
    if (!weight_[static_cast<std::size_t>(next)].empty()) return next;
  }
  return layer;
}

}  // namespace junto
