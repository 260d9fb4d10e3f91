#include "train/reproduce/measure.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

#include "train/data/token_text.h"
#include "train/nn/counter_random.h"

namespace junto {
namespace {

double mean_over_layers(const Measured& measured, double (*of_layer)(const std::vector<double>&, double mean)) {
  double sum = 0.0;
  for (const std::vector<double>& load : measured.load) {
    const double mean = std::accumulate(load.begin(), load.end(), 0.0) / static_cast<double>(load.size());
    sum += of_layer(load, mean);
  }
  return measured.load.empty() ? 0.0 : sum / static_cast<double>(measured.load.size());
}

/// Adds a batch's routing to `out`, whose tokens from `before` on are the batch's.
void count_slots(const LanguageModel::Output& output, std::int64_t experts, std::size_t before, Measured& out) {
  const std::size_t routings = output.routings().size();
  out.load.resize(routings, std::vector<double>(static_cast<std::size_t>(experts)));
  for (std::size_t routing = 0; routing < routings; ++routing) {
    const at::Tensor ids = experts_of_slots(output.routings()[routing].plan);
    const at::Tensor units = units_of_slots(output.routings()[routing].plan);
    for (std::int64_t slot = 0; slot < ids.numel(); ++slot) {
      out.load[routing][static_cast<std::size_t>(ids.data_ptr<std::int64_t>()[slot])] += 1.0;
      out.token_experts[before + static_cast<std::size_t>(units.data_ptr<std::int64_t>()[slot])] +=
          1.0 / static_cast<double>(routings);
    }
  }
}

void note_best(const LanguageModel::Output& output, Measured& out) {
  out.best.resize(output.routings().size());
  for (std::size_t routing = 0; routing < output.routings().size(); ++routing) {
    const RoutePlan& plan = output.routings()[routing].plan;
    for (std::int64_t unit = 0; unit < plan.units(); ++unit) {
      const std::span<const std::int32_t> experts = plan.experts_of(unit);
      out.best[routing].push_back(experts.empty() ? -1 : experts.front());
    }
  }
}

void count_round_pairs(const LanguageModel::Output& output, const LanguageModelShape& shape, Measured& out) {
  const auto rounds = static_cast<std::size_t>(shape.rounds.count),
             experts = static_cast<std::size_t>(shape.router.experts);
  if (rounds < 2 || !output.adapted.empty()) return;
  out.round_pairs.resize(output.routings().size() / rounds, std::vector<double>(experts * experts));
  for (std::size_t routing = 0; routing + 1 < output.routings().size(); ++routing) {
    if (routing % rounds + 1 == rounds) continue;  // the next is another layer's
    const RoutePlan& plan = output.routings()[routing].plan;
    const RoutePlan& next = output.routings()[routing + 1].plan;
    std::vector<double>& pairs = out.round_pairs[routing / rounds];
    for (std::int64_t unit = 0; unit < plan.units(); ++unit) {
      for (const std::int32_t one : plan.experts_of(unit)) {
        for (const std::int32_t other : next.experts_of(unit)) {
          pairs[static_cast<std::size_t>(one) * experts + static_cast<std::size_t>(other)] += 1.0;
        }
      }
    }
  }
}

/// Sums of M over the diagonal, of |M - M^T| and of M.
struct PairSums {
  double diagonal = 0.0, asymmetry = 0.0, all = 0.0;
};
PairSums sums_of(const std::vector<double>& pairs, std::size_t experts) {
  PairSums sums;
  for (std::size_t i = 0; i < experts; ++i) {
    sums.diagonal += pairs[i * experts + i];
    for (std::size_t j = 0; j < experts; ++j) {
      sums.all += pairs[i * experts + j];
      sums.asymmetry += std::abs(pairs[i * experts + j] - pairs[j * experts + i]);
    }
  }
  return sums;
}

/// Element by element; `to` grows to the size of `more`.
void add_rows(std::vector<std::vector<double>>& to, const std::vector<std::vector<double>>& more) {
  if (to.empty()) to.resize(more.size());
  for (std::size_t row = 0; row < more.size(); ++row) {
    to[row].resize(more[row].size());
    for (std::size_t i = 0; i < more[row].size(); ++i) to[row][i] += more[row][i];
  }
}

}  // namespace

at::Tensor corrupted_inputs(const at::Tensor& inputs, const TokenIds& text, std::int64_t first_span,
                            const Corruption& corruption) {
  enum Draw : std::int64_t { kReplaced, kPlace };
  const CounterRandom random({.seed = 0x6b33a6e7, .first_unit = first_span * inputs.size(1)}, 0);
  at::Tensor out = inputs.contiguous().clone();
  auto* tokens = out.data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < out.numel(); ++i) {
    if (random.uniform(i, kReplaced) >= corruption.share) continue;
    const auto place = static_cast<std::size_t>(random.uniform(i, kPlace) * static_cast<double>(text.size()));
    tokens[i] = corruption.token.value_or(text[std::min(place, text.size() - 1)]);
  }
  return out;
}

Measured measure(const LanguageModel& model, const TokenIds& text, std::int64_t spans, std::int64_t sequences,
                 std::int64_t length, const Corruption& corruption) {
  const at::NoGradGuard guard;
  Measured out;
  for (std::int64_t first = 0; first < spans; first += sequences) {
    const TokenBatch batch = span_batch(text, first, std::min(sequences, spans - first), length);
    if (batch.inputs.numel() == 0) break;
    const LanguageModel::Output output =
        model.forward(corruption.share > 0.0 ? corrupted_inputs(batch.inputs, text, first, corruption) : batch.inputs);
    const at::Tensor chosen = at::log_softmax(output.logits, 1).gather(1, batch.targets.reshape({-1, 1}));
    const at::Tensor losses = (-chosen).reshape({-1}).to(at::kDouble).contiguous();
    const std::size_t before = out.token_loss.size();
    const double* values = losses.data_ptr<double>();
    out.token_loss.insert(out.token_loss.end(), values, values + losses.numel());
    out.token_experts.resize(out.token_loss.size());
    count_slots(output, model.shape().routing().experts, before, out);
    note_best(output, out);
    count_round_pairs(output, model.shape(), out);
  }
  out.tokens = static_cast<std::int64_t>(out.token_loss.size());
  const double sum = std::accumulate(out.token_loss.begin(), out.token_loss.end(), 0.0);
  if (out.tokens > 0) out.loss = sum / static_cast<double>(out.tokens);
  return out;
}

void add(Measured& to, const Measured& more) {
  const auto tokens = static_cast<double>(to.tokens + more.tokens);
  if (tokens > 0) {
    to.loss = (to.loss * static_cast<double>(to.tokens) + more.loss * static_cast<double>(more.tokens)) / tokens;
  }
  to.tokens += more.tokens;
  add_rows(to.load, more.load);
  add_rows(to.round_pairs, more.round_pairs);
  to.best.resize(more.best.size());
  for (std::size_t r = 0; r < more.best.size(); ++r)
    to.best[r].insert(to.best[r].end(), more.best[r].begin(), more.best[r].end());
  to.token_loss.insert(to.token_loss.end(), more.token_loss.begin(), more.token_loss.end());
  to.token_experts.insert(to.token_experts.end(), more.token_experts.begin(), more.token_experts.end());
}

double max_violation(const Measured& measured) {
  return mean_over_layers(measured, [](const std::vector<double>& load, double mean) {
    return mean > 0.0 ? *std::max_element(load.begin(), load.end()) / mean - 1.0 : 0.0;
  });
}

double idle_experts(const Measured& measured) {
  return mean_over_layers(measured, [](const std::vector<double>& load, double) {
    return static_cast<double>(std::count(load.begin(), load.end(), 0.0)) / static_cast<double>(load.size());
  });
}

double experts_per_token(const Measured& measured, std::size_t routing) {
  const std::vector<double>& load = measured.load[routing];
  if (measured.tokens == 0) return 0.0;
  return std::accumulate(load.begin(), load.end(), 0.0) / static_cast<double>(measured.tokens);
}

Measured of_experts(const Measured& measured, std::int64_t experts) {
  Measured out = measured;
  for (std::vector<double>& load : out.load) load.resize(static_cast<std::size_t>(experts));
  return out;
}

double rows_per_token(const Measured& measured, std::int64_t experts, std::int64_t layers) {
  const Measured kept = of_experts(measured, experts);
  double sum = 0.0;
  for (std::size_t routing = 0; routing < kept.load.size(); ++routing) sum += experts_per_token(kept, routing);
  return layers > 0 ? sum / static_cast<double>(layers) : 0.0;
}

double churn(const Measured& before, const Measured& now) {
  if (now.best.empty() || before.best.size() != now.best.size()) return 0.0;
  double sum = 0.0;
  for (std::size_t routing = 0; routing < now.best.size(); ++routing) {
    const std::vector<std::int32_t>&old = before.best[routing], &best = now.best[routing];
    if (old.size() != best.size() || best.empty()) return 0.0;
    std::size_t changed = 0;
    for (std::size_t token = 0; token < best.size(); ++token) changed += old[token] != best[token];
    sum += static_cast<double>(changed) / static_cast<double>(best.size());
  }
  return sum / static_cast<double>(now.best.size());
}

double expert_cosine(const LanguageModel& model) {
  const at::NoGradGuard guard;
  const std::int64_t experts = model.shape().weighted_experts();
  double sum = 0.0;
  int layers = 0;
  for (const LanguageModel::Block& block : model.blocks()) {
    if (!block.expert_gate_up.defined()) continue;
    ++layers;
    at::Tensor rows =
        at::cat({block.expert_gate_up.reshape({experts, -1}), block.expert_down.reshape({experts, -1})}, 1);
    rows = rows / rows.square().sum(1, true).sqrt().clamp_min(1e-30);
    const double all = rows.sum(0).square().sum().item<double>(), own = rows.square().sum().item<double>();
    const double pairs = static_cast<double>(experts * (experts - 1));
    sum += pairs > 0.0 ? (all - own) / pairs : 1.0;
  }
  return layers > 0 ? sum / layers : 1.0;
}

double round_repeats(const Measured& measured) {
  const std::size_t layers = measured.round_pairs.size();
  if (layers == 0) return 0.0;
  double repeats = 0.0;
  for (std::size_t layer = 0; layer < layers; ++layer) {
    const std::size_t rounds = measured.load.size() / layers, experts = measured.load[0].size();
    double later = 0.0;
    for (std::size_t round = 1; round < rounds; ++round) {
      const std::vector<double>& load = measured.load[layer * rounds + round];
      later += std::accumulate(load.begin(), load.end(), 0.0);
    }
    const double again = sums_of(measured.round_pairs[layer], experts).diagonal;
    if (later > 0.0) repeats += again / later / static_cast<double>(layers);
  }
  return repeats;
}

double round_asymmetry(const Measured& measured) {
  double sum = 0.0;
  for (const std::vector<double>& pairs : measured.round_pairs) {
    const PairSums sums = sums_of(pairs, measured.load[0].size());
    if (sums.all > 0.0) sum += sums.asymmetry / sums.all / static_cast<double>(measured.round_pairs.size());
  }
  return sum;
}

}  // namespace junto
