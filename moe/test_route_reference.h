// Routing as a textbook would write it, in double precision and by sorting: what the tests hold route() against. Shares
// no code with it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "moe/router_spec.h"

namespace junto::reference {

using Slots = std::vector<std::pair<int, double>>;  // expert, weight

struct Routed {
  Slots slots;
  /// The least difference between two values that a decision of the reference compared: where it is within rounding, a
  /// float implementation may decide otherwise. Equal inputs are no such case: ties have a rule.
  double margin = std::numeric_limits<double>::infinity();
};

inline double sigmoid(double x) {
  return 1.0 / (1.0 + std::exp(-x));
}

inline std::vector<double> softmax(const std::vector<double>& x, const std::vector<int>& over) {
  std::vector<double> out(x.size(), 0.0);
  double largest = -1e300, sum = 0.0;
  for (const int e : over) largest = std::max(largest, x[e]);
  for (const int e : over) sum += out[e] = std::exp(x[e] - largest);
  for (const int e : over) out[e] /= sum;
  return out;
}

/// Logits of which the finite ones have that standard deviation.
inline std::vector<float> with_deviation(std::vector<float> logits, double wanted) {
  std::vector<double> finite;
  for (const float logit : logits) {
    if (std::isfinite(logit)) finite.push_back(logit);
  }
  const double n = static_cast<double>(finite.size()), mean = std::accumulate(finite.begin(), finite.end(), 0.0) / n;
  double variance = 0.0;
  for (const double logit : finite) variance += (logit - mean) * (logit - mean) / (n - 1.0);
  if (wanted == 0.0 || n < 2.0 || variance == 0.0) return logits;
  for (float& logit : logits) logit = static_cast<float>(logit * (wanted / std::sqrt(variance)));
  return logits;
}

/// One unit under `spec`; logits after all edits.
class Router {
 public:
  Router(const RouterSpec& spec, std::span<const float> logits, std::span<const float> bias, std::int64_t key = 0)
      : spec_(spec), key_(key) {
    for (std::size_t e = 0; e < logits.size(); ++e) {
      double logit = logits[e];
      if (logit == std::numeric_limits<double>::infinity()) logit = std::numeric_limits<float>::max();
      logits_.push_back(logit);
      bias_.push_back(spec.selection_bias ? bias[e] : 0.0);
      const bool candidate = !std::isnan(logit) && !std::isinf(logit) && bias_[e] > -1e300;
      if (!std::isnan(logit) && !std::isinf(logit)) finite_.push_back(static_cast<int>(e));
      if (candidate) candidates_.push_back(static_cast<int>(e));
    }
  }

  Routed route() {
    score();
    sort_candidates();
    std::visit([&](const auto& rule) { chosen_ = choose(rule); }, spec_.select);
    if (spec_.entropy_override && unsure(*spec_.entropy_override)) chosen_ = candidates_;
    std::vector<double> weights = weigh();
    for (std::size_t i = 0; i < chosen_.size(); ++i) result_.slots.emplace_back(chosen_[i], weights[i] * spec_.scale);
    std::stable_sort(result_.slots.begin(), result_.slots.end(), [](const auto& a, const auto& b) {
      return a.second != b.second ? a.second > b.second : a.first < b.first;
    });
    return result_;
  }

 private:
  void score() {
    scores_ = logits_;
    if (spec_.score == Score::kSoftmax) scores_ = softmax(logits_, finite_);
    if (spec_.score == Score::kSigmoid) std::transform(logits_.begin(), logits_.end(), scores_.begin(), sigmoid);
    biased_.resize(scores_.size());
    for (const int e : candidates_) biased_[e] = scores_[e] + bias_[e];
  }

  bool better(int a, int b) const { return biased_[a] != biased_[b] ? biased_[a] > biased_[b] : a < b; }

  void decide(double a, double b) {
    if (a != b) result_.margin = std::min(result_.margin, std::fabs(a - b));
  }

  void sort_candidates() {
    std::sort(candidates_.begin(), candidates_.end(), [&](int a, int b) { return better(a, b); });
    for (std::size_t i = 1; i < candidates_.size(); ++i) decide(biased_[candidates_[i - 1]], biased_[candidates_[i]]);
  }

  std::vector<int> first(std::size_t k) const {
    return {candidates_.begin(), candidates_.begin() + std::min(k, candidates_.size())};
  }

  std::vector<int> choose(const TopK& rule) const { return first(rule.k); }
  std::vector<int> choose(const SparseMixer& rule) const { return first(rule.k); }

  std::vector<int> choose(const TopP& rule) {
    std::vector<double> mass = scores_;
    if (spec_.score == Score::kLogit) mass = softmax(logits_, finite_);
    double total = 0.0, reached = 0.0;
    for (const int e : finite_) total += mass[e];
    const std::size_t most = rule.max_k > 0 ? rule.max_k : candidates_.size();
    std::vector<int> chosen;
    const std::size_t least = rule.min_k;
    for (const int e : first(most)) {
      if (!chosen.empty() && chosen.size() >= least && (rule.strict ? reached > rule.p : reached >= rule.p)) break;
      const double next = reached + (total > 0.0 ? mass[e] / total : 0.0);
      // Exact sums of shares do not exist in float: any nearness to p is a doubtful case, equality included.
      result_.margin = std::min(result_.margin, std::fabs(next - rule.p));
      if (!rule.inclusive && next > rule.p && !chosen.empty() && chosen.size() >= least) break;
      chosen.push_back(e);
      reached = next;
    }
    return chosen;
  }

  std::vector<int> choose(const Threshold& rule) {
    std::vector<int> chosen;
    const std::size_t most = rule.max_k > 0 ? rule.max_k : candidates_.size();
    for (const int e : candidates_) {
      decide(scores_[e], rule.threshold);
      if (scores_[e] >= rule.threshold && chosen.size() < most) chosen.push_back(e);
    }
    for (const int e : candidates_) {  // too few: the best of the rest
      if (scores_[e] < rule.threshold && chosen.size() < static_cast<std::size_t>(rule.min_k)) chosen.push_back(e);
    }
    return chosen;
  }

  std::vector<int> choose(const Gap& rule) {
    if (candidates_.size() < 2) return candidates_;
    std::vector<double> drops;
    for (std::size_t i = 1; i < candidates_.size() && i <= static_cast<std::size_t>(rule.max_k); ++i) {
      drops.push_back(biased_[candidates_[i - 1]] - biased_[candidates_[i]]);
    }
    const auto largest = std::max_element(drops.begin(), drops.end());
    for (auto drop = drops.begin(); drop != drops.end(); ++drop) {
      // Differences of floats are rounded: equal drops in double may differ in float and the other way round.
      if (drop != largest) result_.margin = std::min(result_.margin, *largest - *drop);
    }
    return first(largest - drops.begin() + 1);
  }

  std::vector<int> choose(const GroupLimited& rule) {
    const int size = static_cast<int>(logits_.size()) / rule.groups;
    std::vector<std::pair<double, int>> groups;  // (-score, group): sorts best first
    for (int g = 0; g < rule.groups; ++g) {
      std::vector<double> members;
      for (const int e : candidates_) {
        if (e / size == g) members.push_back(biased_[e]);  // descending
      }
      if (members.empty()) continue;
      const bool two = rule.group_score == GroupLimited::GroupScore::kTopTwoSum && members.size() > 1;
      groups.emplace_back(-(members[0] + (two ? members[1] : 0.0)), g);
    }
    std::sort(groups.begin(), groups.end());
    for (std::size_t i = 1; i < groups.size(); ++i) {
      result_.margin = std::min(result_.margin, groups[i].first - groups[i - 1].first);  // sums: rounded in float
    }
    std::vector<int> chosen;
    for (const int e : candidates_) {
      for (std::size_t i = 0; i < groups.size() && i < static_cast<std::size_t>(rule.top_groups); ++i) {
        if (groups[i].second == e / size && chosen.size() < static_cast<std::size_t>(rule.k)) chosen.push_back(e);
      }
    }
    return chosen;
  }

  std::vector<int> choose(const Margin& rule) {
    std::vector<int> chosen;
    for (const int e : first(rule.max_k)) {
      if (!chosen.empty()) {
        const double best = biased_[chosen[0]], distance = best - biased_[e];
        const double limit = rule.of_pair ? static_cast<double>(rule.margin) * (best + biased_[e]) : rule.margin;
        decide(distance, limit);
        if (distance > limit) break;
      }
      chosen.push_back(e);
    }
    return chosen;
  }

  /// One round of splitmix64, from its definition.
  static std::uint64_t scramble(std::uint64_t x) {
    x = x + 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
  }

  std::vector<int> choose(const Given& rule) {
    std::vector<bool> named(logits_.size(), false);
    const int experts = static_cast<int>(logits_.size());
    std::uint64_t hash = scramble(static_cast<std::uint64_t>(key_) ^ scramble(static_cast<std::uint64_t>(rule.seed)));
    for (int i = 0; i < rule.k && rule.experts_of_key.empty(); ++i, hash = scramble(hash)) {
      int e = static_cast<int>(hash % logits_.size());
      while (named[e]) e = (e + 1) % experts;
      named[e] = true;
    }
    if (key_ < static_cast<std::int64_t>(rule.experts_of_key.size())) {
      for (const int e : rule.experts_of_key[key_]) named[e] = true;
    }
    std::vector<int> chosen;
    for (const int e : candidates_) {
      if (named[e]) chosen.push_back(e);
    }
    return chosen;
  }

  std::vector<int> choose(const ExpertChoice&) { return candidates_; }  // a batch of one

  bool unsure(const EntropyOverride& rule) {
    const std::vector<double> p = softmax(logits_, finite_);
    const double n = static_cast<double>(finite_.size()), q = rule.order;
    if (finite_.size() < 2) return false;
    double shannon = 0.0, powers = 0.0;
    for (const int e : finite_) {
      const double mass = p[e] + static_cast<double>(rule.eps);
      if (mass > 0.0) shannon -= mass * std::log(mass);
      powers += mass > 0.0 ? std::pow(mass, q) : 0.0;
    }
    double share = shannon / std::log(n);
    if (rule.kind == Entropy::kTsallis && std::fabs(q - 1.0) >= 1e-3)
      share = (1.0 - powers) / (1.0 - std::pow(n, 1.0 - q));
    if (rule.kind == Entropy::kRenyi && std::fabs(q - 1.0) >= 1e-3) share = std::log(powers) / (1.0 - q) / std::log(n);
    // Near: p itself is rounded in float.
    result_.margin = std::min(result_.margin, 0.1 * std::fabs(share - static_cast<double>(rule.threshold)));
    return share > static_cast<double>(rule.threshold);
  }

  std::vector<double> weigh_sparse_mixer(const SparseMixer& rule) {
    std::vector<double> weights;
    std::vector<int> left = finite_;
    for (const int best : chosen_) {
      std::vector<int> near;
      for (const int e : left) {
        const double distance = logits_[best] - logits_[e];
        const double factor = std::max(std::fabs(logits_[e]), logits_[best]);
        const double limit = 2.0 * static_cast<double>(rule.jitter_eps);
        if (distance > 0.0) decide(distance / factor, limit);
        if (distance <= 0.0 || distance / factor <= limit) near.push_back(e);
      }
      weights.push_back(softmax(logits_, near)[best]);
      left.erase(std::find(left.begin(), left.end(), best));
    }
    return weights;
  }

  std::vector<double> weigh() {
    std::vector<double> weights;
    const std::vector<double> of_all = softmax(logits_, finite_), of_chosen = softmax(logits_, chosen_);
    for (const int e : chosen_) {
      switch (spec_.weigh) {
        case Weigh::kRaw:
        case Weigh::kRenormalised:
          weights.push_back(scores_[e]);
          break;
        case Weigh::kSoftmaxOfChosen:
          weights.push_back(of_chosen[e]);
          break;
        case Weigh::kSoftmaxOfAll:
          weights.push_back(of_all[e]);
          break;
        case Weigh::kConstant:
          weights.push_back(1.0);
      }
    }
    if (const auto* rule = std::get_if<SparseMixer>(&spec_.select)) weights = weigh_sparse_mixer(*rule);
    for (std::size_t i = 0; i < weights.size(); ++i) {
      if (chosen_[i] + spec_.weightless >= spec_.experts) weights[i] = 0.0;
    }
    if (spec_.weigh != Weigh::kRenormalised) return weights;
    double norm = 0.0;
    for (const double w : weights)
      norm += spec_.renormalise_p == 1.0f ? w : std::pow(std::fabs(w), spec_.renormalise_p);
    if (spec_.renormalise_p != 1.0f) norm = std::pow(norm, 1.0 / spec_.renormalise_p);
    const double divisor = std::max<double>(norm + spec_.renormalise_eps, spec_.renormalise_min);
    if (divisor > 0.0) {
      for (double& w : weights) w /= divisor;
    }
    return weights;
  }

  const RouterSpec& spec_;
  std::int64_t key_ = 0;
  std::vector<double> logits_, bias_, scores_, biased_;
  std::vector<int> finite_, candidates_, chosen_;
  Routed result_;
};

}  // namespace junto::reference
