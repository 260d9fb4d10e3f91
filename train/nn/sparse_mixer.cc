#include "train/nn/sparse_mixer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "train/nn/route.h"

namespace junto {
namespace {

constexpr double kNoLogit = -std::numeric_limits<double>::infinity();
enum MixerDraw : std::uint64_t { kExpert = 11, kPoint = 12 };

/// out[e]: logit e is too far below `best` to be compared with it, or no candidate.
void leave_out_far(const SparseMixer& rule, const float* row, std::int64_t experts, float best, bool* out) {
  for (std::int64_t e = 0; e < experts; ++e) {
    out[e] = (best - row[e]) / std::max(std::abs(row[e]), best) > 2.0f * rule.jitter_eps || !(row[e] > kNoLogit);
  }
}

at::Tensor weights_over(const at::Tensor& logits, const at::Tensor& left_out, const at::Tensor& unit_of_slot,
                        const at::Tensor& expert_of_slot) {
  const at::Tensor rows = logits.index_select(0, unit_of_slot).masked_fill(left_out, kNoLogit);
  return at::softmax(rows, 1).gather(1, expert_of_slot.unsqueeze(1)).squeeze(1);
}

}  // namespace

at::Tensor sparse_mixer_weights(const SparseMixer& rule, const RoutePlan& plan, const at::Tensor& logits,
                                const at::Tensor& unit_of_slot, const at::Tensor& expert_of_slot) {
  const at::Tensor compared = logits.detach().to(at::kFloat).contiguous();
  const std::int64_t experts = logits.size(1);
  at::Tensor left_out = at::zeros({plan.slots(), experts}, at::kBool);
  bool* out = left_out.data_ptr<bool>();
  std::vector<std::int32_t> rounds;  // slots of one unit in the order of choice
  for (std::int64_t unit = 0; unit < plan.units(); ++unit) {
    const float* row = compared.data_ptr<float>() + unit * experts;
    rounds.clear();
    for (std::int32_t slot = plan.offset[unit]; slot < plan.offset[unit + 1]; ++slot) rounds.push_back(slot);
    std::sort(rounds.begin(), rounds.end(), [&](std::int32_t a, std::int32_t b) {
      const std::int32_t x = plan.expert[a], y = plan.expert[b];
      return row[x] != row[y] ? row[x] > row[y] : x < y;
    });
    for (std::size_t round = 0; round < rounds.size(); ++round) {
      bool* mask = out + rounds[round] * experts;
      leave_out_far(rule, row, experts, row[plan.expert[rounds[round]]], mask);
      for (std::size_t earlier = 0; earlier < round; ++earlier) mask[plan.expert[rounds[earlier]]] = true;
    }
  }
  return weights_over(logits, left_out, unit_of_slot, expert_of_slot);
}

SampledMixer sample_sparse_mixer(const SparseMixer& rule, const at::Tensor& logits, const DrawPlace& place) {
  const at::Tensor compared = logits.detach().to(at::kFloat).contiguous();
  const std::int64_t units = logits.size(0), experts = logits.size(1);
  const CounterRandom of_expert(place, kExpert), of_point(place, kPoint);
  SampledMixer out;
  const at::Tensor left_out = at::empty({units * std::min<std::int64_t>(rule.k, experts), experts}, at::kBool);
  std::vector<double> factors;
  std::vector<float> row(static_cast<std::size_t>(experts));
  for (std::int64_t unit = 0; unit < units; ++unit) {
    const float* from = compared.data_ptr<float>() + unit * experts;
    std::copy(from, from + experts, row.begin());
    for (int round = 0; round < std::min<std::int64_t>(rule.k, experts); ++round) {
      const auto best = static_cast<std::int64_t>(std::max_element(row.begin(), row.end()) - row.begin());
      if (!(row[best] > kNoLogit)) break;
      bool* mask = left_out.data_ptr<bool>() + out.plan.slots() * experts;
      leave_out_far(rule, row.data(), experts, row[best], mask);
      std::int64_t drawn = best;
      double highest = kNoLogit;
      for (std::int64_t e = 0; e < experts; ++e) {
        if (mask[e]) continue;
        const double value = static_cast<double>(row[e]) + of_expert.gumbel(unit, round * experts + e);
        if (value > highest) drawn = e, highest = value;
      }
      const bool whole = drawn == best || of_point.uniform(unit, round) < 0.25;
      out.plan.expert.push_back(static_cast<std::int32_t>(drawn));
      factors.push_back(whole ? 1.0 : 1.0 / 3.0);
      row[drawn] = -std::numeric_limits<float>::infinity();
    }
    out.plan.offset.push_back(static_cast<std::int32_t>(out.plan.expert.size()));
  }
  const at::Tensor p = weights_over(logits, left_out.narrow(0, 0, out.plan.slots()), units_of_slots(out.plan),
                                    experts_of_slots(out.plan));
  const at::Tensor factor = at::tensor(factors, at::kDouble).to(p.scalar_type());
  out.weights = p + (p * (factor - 1.0)).detach();
  const at::Tensor weights = out.weights.detach().to(at::kFloat).contiguous();
  out.plan.weight.assign(weights.data_ptr<float>(), weights.data_ptr<float>() + weights.numel());
  return out;
}

}  // namespace junto
