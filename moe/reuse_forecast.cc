#include "moe/reuse_forecast.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace junto {
namespace {

// Old counts fade, so that a new text is learned as soon: after as many looks at an expert of a description.
constexpr double kMostSeen = 4096;

}  // namespace

ReuseForecast::ReuseForecast(const std::vector<int>& experts_of_layer, const ExpertStages& stages) {
  for (std::size_t l = 0; l < experts_of_layer.size(); ++l) {
    Layer& layer = layers_.emplace_back();
    layer.experts.resize(static_cast<std::size_t>(experts_of_layer[l]));
    int rounds = 0;
    for (int s = 0; s < stages.count(); ++s) rounds += stages.stage(s).layer == static_cast<int>(l) ? 1 : 0;
    layer.kept = std::exp2(-1 / (kHalfLife_tokens * std::max(1, rounds)));
  }
}

std::size_t ReuseForecast::describe(const Layer& layer, const Past& past) {
  if (past.last_use == 0) return 0;
  const auto age = static_cast<std::uint64_t>(layer.pass + 1 - past.last_use);
  const std::size_t age_step = age <= 2 ? age : std::min<std::size_t>(std::bit_width(age - 1) + 1, kAges - 1);
  const double popular = past.weight * static_cast<double>(layer.experts.size()) / std::max(layer.uses, 1e-9);
  const double share_step = std::clamp(std::floor(2 * std::log2(std::max(popular, 1e-6))) + 4, 0.0, kShares - 1.0);
  return age_step * kShares + static_cast<std::size_t>(share_step);
}

void ReuseForecast::enter(int layer) {
  Layer& one = layers_[static_cast<std::size_t>(layer)];
  ++one.pass;
  one.uses *= one.kept;
  for (Past& past : one.experts) {
    past.weight *= one.kept;
    past.now = past.next;
    Count& count = counts_[past.now];
    if (count.seen >= kMostSeen) count.seen /= 2, count.used /= 2;
    ++count.seen;
    past.next = describe(one, past);
  }
}

void ReuseForecast::use(int layer, int expert) {
  Layer& one = layers_[static_cast<std::size_t>(layer)];
  Past& past = one.experts[static_cast<std::size_t>(expert)];
  ++counts_[past.now].used;
  ++past.weight;
  ++one.uses;
  past.last_use = one.pass;
  past.next = describe(one, past);
}

double ReuseForecast::chance(int layer, int expert) const {
  const Past& past = layers_[static_cast<std::size_t>(layer)].experts[static_cast<std::size_t>(expert)];
  const Count& count = counts_[past.next];
  return (count.used + 1) / (count.seen + 4);
}

}  // namespace junto
