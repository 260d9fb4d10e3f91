#include "moe/eviction.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "base/error.h"
#include "moe/reuse_forecast.h"

namespace junto {
namespace {

constexpr std::pair<std::string_view, Evict> kNames[] = {{"lru", Evict::kLru},
                                                         {"lfu", Evict::kLfu},
                                                         {"lifo", Evict::kLifo},
                                                         {"layer", Evict::kLayer},
                                                         {"predicted", Evict::kPredicted},
                                                         {"static", Evict::kStatic},
                                                         {"belady", Evict::kBelady}};

}  // namespace

Evict parse_evict(std::string_view name) {
  for (const auto& [known, policy] : kNames) {
    if (name == known && policy != Evict::kBelady) return policy;
  }
  fail("--evict", "is " + printable(name) + ", expected lru, lfu, lifo, layer, predicted or static");
}

std::string_view evict_name(Evict policy) {
  for (const auto& [name, known] : kNames) {
    if (policy == known) return name;
  }
  return "";
}

Eviction::Eviction(Evict policy, const std::vector<int>& experts_of_layer, Foreknowledge known,
                   const std::vector<int>& rounds)
    : policy_(policy), known_(std::move(known)), stages_(experts_of_layer, rounds) {
  for (std::size_t l = 0; l < experts_of_layer.size(); ++l) {
    first_cell_.push_back(static_cast<std::int32_t>(layer_.size()));
    layer_.insert(layer_.end(), static_cast<std::size_t>(experts_of_layer[l]), static_cast<int>(l));
  }
  history_.resize(layer_.size());
  if (policy == Evict::kPredicted) forecast_ = std::make_shared<ReuseForecast>(experts_of_layer, stages_);
  assert(policy != Evict::kStatic || known_.popularity.size() == layer_.size());
  assert(policy != Evict::kBelady || known_.uses.size() == layer_.size());
}

void Eviction::enter(ExpertStage stage) {
  present_ = stage;
  ++pass_;
  if (forecast_) forecast_->enter(stage.layer);
}

void Eviction::use(int layer, int expert) {
  const std::int32_t cell = cell_of(layer, expert);
  ExpertHistory& history = history_[static_cast<std::size_t>(cell)];
  history.weight = weight_now(cell) + 1;
  history.last_use = pass_;
  if (forecast_) forecast_->use(layer, expert);
}

double Eviction::weight_now(std::int32_t cell) const {
  const ExpertHistory& history = history_[static_cast<std::size_t>(cell)];
  const double tokens = static_cast<double>(pass_ - history.last_use) / std::max(1, stages_.count());
  return history.weight * std::exp2(-tokens / kHalfLife_tokens);
}

std::int64_t Eviction::next_use(std::int32_t cell) const {
  const std::vector<std::int64_t>& uses = known_.uses[static_cast<std::size_t>(cell)];
  const auto next = std::ranges::upper_bound(uses, pass_);
  return next == uses.end() ? std::numeric_limits<std::int64_t>::max() : *next;
}

int Eviction::distance(std::int32_t cell) const {
  const int layers = static_cast<int>(first_cell_.size());
  return (layer_of(cell) - present_.layer + layers) % layers;
}

// As if each of the layer's stages used it with the same chance: on average 1 / chance - 1 of them pass without a use.
double Eviction::expected_wait(std::int32_t cell) const {
  const int layer = layer_of(cell);
  const double chance = forecast_->chance(layer, cell - cell_of(layer, 0));
  return stages_.steps_to_layer(stages_.index_of(present_), layer) + stages_.count() * (1 / chance - 1);
}

std::int32_t Eviction::awaited_longest(std::span<const std::int32_t> candidates) const {
  std::int32_t out = candidates.front();
  double longest = -1;
  for (const std::int32_t cell : candidates) {
    const double wait = expected_wait(cell);
    if (wait > longest) longest = wait, out = cell;
  }
  return out;
}

std::int32_t Eviction::victim(std::span<const std::int32_t> candidates) const {
  if (policy_ == Evict::kPredicted) return awaited_longest(candidates);
  const auto last_use = [&](std::int32_t cell) { return history_[static_cast<std::size_t>(cell)].last_use; };
  const auto popularity = [&](std::int32_t cell) { return known_.popularity[static_cast<std::size_t>(cell)]; };
  // What the present layer does not ask for now, it asks for in its next round, or else a whole token later.
  const int again = stages_.steps_to_layer(stages_.index_of(present_), present_.layer) == 1
                        ? 0
                        : static_cast<int>(first_cell_.size());
  const auto passes_until = [&](std::int32_t cell) { return distance(cell) > 0 ? distance(cell) : again; };
  const auto goes_before = [&](std::int32_t a, std::int32_t b) {
    switch (policy_) {
      case Evict::kLru:
        return last_use(a) < last_use(b);
      case Evict::kLfu:
        return weight_now(a) < weight_now(b);
      case Evict::kLifo:
        return last_use(a) > last_use(b);
      case Evict::kStatic:
        return popularity(a) < popularity(b);
      case Evict::kBelady:
        return next_use(a) > next_use(b);
      case Evict::kPredicted:
      case Evict::kLayer:
        break;
    }
    if (passes_until(a) != passes_until(b)) return passes_until(a) > passes_until(b);
    return weight_now(a) < weight_now(b);
  };
  std::int32_t out = candidates.front();
  for (const std::int32_t cell : candidates.subspan(1)) {
    if (goes_before(cell, out)) out = cell;
  }
  return out;
}

}  // namespace junto
