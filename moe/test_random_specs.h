// Random RouterSpecs and logits for property tests: every rule, score and weighing that check_router_spec() lets pass.
#pragma once

#include <algorithm>
#include <limits>
#include <random>
#include <vector>

#include "moe/router_spec.h"

namespace junto {

class RandomSpecs {
 public:
  explicit RandomSpecs(int seed) : random_(seed) {}

  int integer(int min, int max) { return std::uniform_int_distribution<int>(min, max)(random_); }
  float real(float min, float max) { return std::uniform_real_distribution<float>(min, max)(random_); }
  bool chance(float p) { return real(0, 1) < p; }

  SelectRule rule(int experts) {
    switch (integer(0, 8)) {
      case 0:
        return TopK{integer(1, experts)};
      case 1:
        return TopP{.p = real(0, 1),
                    .inclusive = chance(0.7f),
                    .max_k = chance(0.5f) ? 0 : integer(1, experts),
                    .strict = chance(0.3f)};
      case 2: {
        const int max_k = chance(0.5f) ? 0 : integer(1, experts);
        return Threshold{real(-0.1f, 0.6f), chance(0.5f) ? 0 : integer(0, max_k > 0 ? max_k : experts), max_k};
      }
      case 3:
        return Gap{integer(1, experts)};
      case 4: {
        std::vector<int> divisors;
        for (int d = 1; d <= experts; ++d) {
          if (experts % d == 0) divisors.push_back(d);
        }
        const int groups = divisors[integer(0, static_cast<int>(divisors.size()) - 1)];
        const int top = integer(1, groups);
        return GroupLimited{integer(1, experts / groups * top), groups, top,
                            chance(0.5f) ? GroupLimited::GroupScore::kMax : GroupLimited::GroupScore::kTopTwoSum};
      }
      case 5:
        return Margin{real(0, 0.5f), integer(1, experts), chance(0.3f)};
      case 6:
        return given(experts);
      case 7:
        return ExpertChoice{real(0, static_cast<float>(experts))};
      default:
        return SparseMixer{integer(1, std::min(experts, 4)), chance(0.5f) ? 0.01f : real(0, 0.5f)};
    }
  }

  Given given(int experts) {
    Given rule{.k = integer(1, experts), .seed = integer(0, 1000)};
    for (int key = chance(0.5f) ? integer(1, 4) : 0; key > 0; --key) {
      std::vector<std::int32_t> ids;
      for (int e = 0; e < experts; ++e) {
        if (chance(0.2f)) ids.push_back(e);
      }
      std::shuffle(ids.begin(), ids.end(), random_);
      rule.experts_of_key.push_back(ids);
    }
    return rule;
  }

  EntropyOverride entropy_override() {
    return {.kind = static_cast<Entropy>(integer(0, 2)),
            .order = chance(0.2f) ? 1.0f : real(0.2f, 3),
            .threshold = real(0.3f, 1),
            .eps = chance(0.5f) ? 0.0f : 1e-5f};
  }

  /// With a prune stage now and then.
  RouterSpec batch_spec() {
    RouterSpec spec = this->spec();
    if (chance(0.5f)) return spec;
    spec.prune = Capacity{.factor = real(0, 2),
                          .priority = static_cast<Capacity::Priority>(integer(0, 2)),
                          .drop = static_cast<Capacity::Drop>(integer(0, 1))};
    if (spec.score == Score::kLogit) spec.prune->drop = Capacity::Drop::kZero;  // a sum of logits may be anything
    if (chance(0.5f)) return spec;
    for (int e = 0; e < spec.experts; ++e) spec.prune->shares.push_back(real(0.1f, 2));
    return spec;
  }

  RouterSpec spec() {
    RouterSpec spec;
    spec.experts = chance(0.1f) ? integer(65, 512) : integer(1, 64);
    spec.score = static_cast<Score>(integer(0, 2));
    spec.select = rule(spec.experts);
    spec.weigh = static_cast<Weigh>(integer(0, 4));
    spec.selection_bias = chance(0.4f);
    if (std::holds_alternative<SparseMixer>(spec.select)) {
      spec.score = Score::kLogit;
      spec.selection_bias = false;
      spec.weigh = chance(0.7f) ? Weigh::kRaw : Weigh::kRenormalised;
    } else if (spec.score == Score::kLogit && spec.weigh == Weigh::kRenormalised) {
      spec.weigh = Weigh::kSoftmaxOfChosen;  // a sum of logits may be anything
    }
    if (auto* top_p = std::get_if<TopP>(&spec.select); top_p != nullptr && chance(0.3f)) {
      top_p->min_k = integer(1, top_p->max_k > 0 ? top_p->max_k : spec.experts);
    }
    const bool by_unit =
        !std::holds_alternative<SparseMixer>(spec.select) && !std::holds_alternative<ExpertChoice>(spec.select);
    if (by_unit && chance(0.15f)) spec.entropy_override = entropy_override();
    if (chance(0.2f)) spec.weightless = integer(1, std::min(spec.experts, 3));
    if (chance(0.15f)) spec.logit_deviation = real(0.3f, 3);
    if (chance(0.3f)) spec.renormalise_eps = chance(0.5f) ? 1e-20f : 1e-6f;
    if (chance(0.3f)) spec.renormalise_min = 1e-12f;
    if (chance(0.2f)) spec.renormalise_p = chance(0.5f) ? 2.0f : 3.0f;
    if (chance(0.5f)) spec.scale = real(0.1f, 20);
    if (chance(0.3f)) spec.logit_softcap = real(1, 50);
    if (chance(0.3f)) spec.logit_scale = real(0.1f, 3);
    spec.weight_on = chance(0.2f) ? WeightOn::kInput : WeightOn::kOutput;
    return spec;
  }

  /// Logits with ties, NaN and infinities now and then.
  std::vector<float> logits(int experts) {
    std::vector<float> values(experts);
    const bool coarse = chance(0.3f);
    const float spread = chance(0.2f) ? 30.0f : 3.0f;
    for (float& value : values) {
      value = real(-spread, spread);
      if (coarse) value = static_cast<float>(integer(-3, 3));
    }
    if (chance(0.2f)) {
      for (float& value : values) {
        if (chance(0.3f))
          value = chance(0.5f) ? std::numeric_limits<float>::quiet_NaN() : -std::numeric_limits<float>::infinity();
      }
    }
    return values;
  }

 private:
  std::mt19937 random_;
};

}  // namespace junto
