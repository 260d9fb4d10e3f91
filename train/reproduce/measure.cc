#include "train/reproduce/measure.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>

#include "train/data/token_text.h"

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

}  // namespace

Measured measure(const LanguageModel& model, const TokenIds& text, std::int64_t spans, std::int64_t sequences,
                 std::int64_t length) {
  const at::NoGradGuard guard;
  Measured out;
  for (std::int64_t first = 0; first < spans; first += sequences) {
    const TokenBatch batch = span_batch(text, first, std::min(sequences, spans - first), length);
    if (batch.inputs.numel() == 0) break;
    const LanguageModel::Output output = model.forward(batch.inputs);
    const at::Tensor chosen = at::log_softmax(output.logits, 1).gather(1, batch.targets.reshape({-1, 1}));
    const at::Tensor losses = (-chosen).reshape({-1}).to(at::kDouble).contiguous();
    const std::size_t before = out.token_loss.size();
    const double* values = losses.data_ptr<double>();
    out.token_loss.insert(out.token_loss.end(), values, values + losses.numel());
    out.token_experts.resize(out.token_loss.size());
    out.load.resize(output.routed.size(), std::vector<double>(static_cast<std::size_t>(model.shape().router.experts)));
    for (std::size_t layer = 0; layer < output.routed.size(); ++layer) {
      const at::Tensor experts = experts_of_slots(output.routed[layer].plan);
      const at::Tensor units = units_of_slots(output.routed[layer].plan);
      for (std::int64_t slot = 0; slot < experts.numel(); ++slot) {
        out.load[layer][static_cast<std::size_t>(experts.data_ptr<std::int64_t>()[slot])] += 1.0;
        out.token_experts[before + static_cast<std::size_t>(units.data_ptr<std::int64_t>()[slot])] +=
            1.0 / static_cast<double>(output.routed.size());
      }
    }
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
  if (to.load.empty()) to.load.resize(more.load.size());
  for (std::size_t layer = 0; layer < more.load.size(); ++layer) {
    to.load[layer].resize(more.load[layer].size());
    for (std::size_t e = 0; e < more.load[layer].size(); ++e) to.load[layer][e] += more.load[layer][e];
  }
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

double experts_per_token(const Measured& measured, std::size_t layer) {
  const std::vector<double>& load = measured.load[layer];
  if (measured.tokens == 0) return 0.0;
  return std::accumulate(load.begin(), load.end(), 0.0) / static_cast<double>(measured.tokens);
}

}  // namespace junto
