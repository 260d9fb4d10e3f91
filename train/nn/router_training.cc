#include "train/nn/router_training.h"

#include <ATen/ATen.h>

#include <array>

#include "moe/json_fields.h"
#include "moe/select.h"

namespace junto {
namespace {

enum Purpose : std::uint64_t { kLogitNoise = 1, kInputJitter = 2 };

constexpr std::array<std::string_view, 5> kNoises = {"none", "gaussian", "learned", "gumbel", "jitter"};

/// [rows, columns] of draw(row, column), in the type of `like`.
template <class Draw>
at::Tensor drawn(const at::Tensor& like, const Draw& draw) {
  const at::Tensor values = at::empty({like.size(0), like.size(1)}, at::kDouble);
  double* out = values.data_ptr<double>();
  for (std::int64_t row = 0; row < like.size(0); ++row) {
    for (std::int64_t column = 0; column < like.size(1); ++column) *out++ = draw(row, column);
  }
  return values.to(like.scalar_type());
}

}  // namespace

RouterTraining parse_router_training(const Json& json, const RouterSpec& spec, std::string_view where) {
  JsonFields fields(json, where, "router_training");
  RouterTraining training;
  fields.read("noise", kNoises, training.noise, "Of logits; jitter: of the router's input");
  if (training.noise == RouterTraining::Noise::kJitter) training.amount = 0.01f;
  training.amount = fields.number("amount", 0.0f, 1e6f, "Of the noise: 1, of jitter 0.01").value_or(training.amount);
  fields.read("temperature", 1e-6f, 1e6f, training.temperature, "Divides the noisy logits");
  fields.read("noisy_weights", training.noisy_weights, "False: noise decides who is chosen, clean logits weigh");
  const bool mixer = std::holds_alternative<SparseMixer>(spec.select);
  training.sample =
      fields.boolean("sample", "The estimator of SparseMixer's paper; true with sparse_mixer").value_or(mixer);
  if (const Json* rule = fields.any("select", "Another rule while training"))
    training.select = parse_select_rule(*rule, spec.experts, where);
  fields.read("balanced", training.balanced, "Every expert gets as many tokens, by the best assignment (BASE)");
  if (!fields.finish()) return training;
  if (training.balanced && (spec.select != SelectRule(TopK{1}) || spec.entropy_override || training.select)) {
    fields.fail_at("balanced", "true, expected false or a router of top_k 1 without another rule");
  }
  if (training.sample && !mixer) fields.fail_at("sample", "true, expected false without sparse_mixer");
  if (training.select && (mixer || std::holds_alternative<SparseMixer>(*training.select))) {
    fields.fail_at("select", "set, expected no other rule of sparse_mixer or by it");
  }
  return training;
}

at::Tensor jittered(const RouterTraining& training, const at::Tensor& x, const DrawPlace& place) {
  if (training.noise != RouterTraining::Noise::kJitter) return x;
  const CounterRandom random(place, kInputJitter);
  const double amount = training.amount;
  return x * drawn(x, [&](std::int64_t unit, std::int64_t d) {
           return 1.0 + amount * (2.0 * random.uniform(unit, d) - 1.0);
         });
}

NoisyLogits add_noise(const RouterTraining& training, const at::Tensor& logits, const at::Tensor& noise_projection,
                      const DrawPlace& place) {
  using Noise = RouterTraining::Noise;
  NoisyLogits out{.weigh = logits, .select = {}, .deviation = {}};
  const CounterRandom random(place, kLogitNoise);
  at::Tensor noisy = logits;
  if (training.noise == Noise::kGaussian || training.noise == Noise::kLearned) {
    const at::Tensor normal = drawn(logits, [&](std::int64_t u, std::int64_t e) { return random.normal(u, e); });
    if (training.noise == Noise::kLearned) out.deviation = at::softplus(noise_projection);
    noisy = logits + (out.deviation.defined() ? out.deviation * normal : normal * static_cast<double>(training.amount));
  } else if (training.noise == Noise::kGumbel) {
    const at::Tensor gumbel = drawn(logits, [&](std::int64_t u, std::int64_t e) { return random.gumbel(u, e); });
    noisy = logits + gumbel * static_cast<double>(training.amount);
  }
  if (training.temperature != 1.0f) noisy = noisy / static_cast<double>(training.temperature);
  if (training.noisy_weights) {
    out.weigh = noisy;
  } else if (!noisy.is_same(logits)) {
    out.select = noisy.detach();
  }
  return out;
}

}  // namespace junto
