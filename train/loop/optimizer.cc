#include "train/loop/optimizer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "moe/json_fields.h"
#include "train/loop/adafactor.h"

namespace junto {
namespace {

constexpr std::int64_t kBlock = 1 << 15;  // values that one thread takes at a time

/// One step's numbers that all blocks share.
struct Factors {
  float scale, rate, keep, first_share, second_share;
};

void update_adamw(float* __restrict value, const float* __restrict gradient, float* __restrict first,
                  float* __restrict second, std::int64_t count, const OptimizerOptions& o, const Factors& f) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float g = gradient[i] * f.scale;
    const float m = o.beta1 * first[i] + (1.0f - o.beta1) * g;
    const float v = o.beta2 * second[i] + (1.0f - o.beta2) * g * g;
    first[i] = m;
    second[i] = v;
    value[i] = value[i] * f.keep - f.rate * (m / f.first_share) / (std::sqrt(v / f.second_share) + o.eps);
  }
}

void update_lion(float* __restrict value, const float* __restrict gradient, float* __restrict first, std::int64_t count,
                 const OptimizerOptions& o, const Factors& f) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float g = gradient[i] * f.scale;
    const float direction = o.beta1 * first[i] + (1.0f - o.beta1) * g;
    const float sign = direction > 0.0f ? 1.0f : direction < 0.0f ? -1.0f : 0.0f;
    value[i] = value[i] * f.keep - f.rate * sign;
    first[i] = o.beta2 * first[i] + (1.0f - o.beta2) * g;
  }
}

void update_sgd(float* __restrict value, const float* __restrict gradient, float* __restrict first, std::int64_t count,
                const OptimizerOptions& o, const Factors& f) {
  for (std::int64_t i = 0; i < count; ++i) {
    first[i] = o.beta1 * first[i] + gradient[i] * f.scale;
    value[i] = value[i] * f.keep - f.rate * first[i];
  }
}

void add_to_average(float* __restrict average, const float* __restrict value, std::int64_t count, float decay) {
  for (std::int64_t i = 0; i < count; ++i) average[i] = decay * average[i] + (1.0f - decay) * value[i];
}

/// Values of one parameter, kBlock at most.
struct Piece {
  std::int64_t begin, count;
  bool decays;
};
std::vector<Piece> pieces_of(const Parameters& parameters, const std::vector<bool>& frozen) {
  std::vector<Piece> pieces;
  for (std::size_t p = 0; p < parameters.all().size(); ++p) {
    const Parameter& parameter = parameters.all()[p];
    if (!frozen.empty() && frozen[p]) continue;
    for (std::int64_t at = 0; at < parameter.value.numel(); at += kBlock) {
      pieces.push_back({parameter.offset + at, std::min(kBlock, parameter.value.numel() - at), parameter.decays});
    }
  }
  return pieces;
}

}  // namespace

OptimizerOptions parse_optimizer(const Json& json, std::string_view where) {
  using Kind = OptimizerOptions::Kind;
  constexpr std::array<std::string_view, 4> kKinds = {"adamw", "lion", "sgd", "adafactor"};
  JsonFields fields(json, where, "optimizer");
  OptimizerOptions options;
  fields.read("kind", kKinds, options.kind, "The rule of an update");
  const bool factored = options.kind == Kind::kAdafactor;
  if (options.kind == Kind::kLion) options.beta2 = 0.99f;
  if (factored) options.beta1 = 0.0f, options.eps = 1e-30f;
  fields.read("learning_rate", 0.0f, 1e3f, options.learning_rate, "At the schedule's height");
  fields.read("beta1", 0.0f, 0.999999f, options.beta1, "Decay of the first moment; adafactor: 0, which is none");
  fields.read("beta2", 0.0f, 0.999999f, options.beta2, "Decay of the second moment; of lion's mean: 0.99");
  fields.read("eps", 0.0f, 1.0f, options.eps, "Beside the root of the second moment; adafactor: in it, 1e-30");
  fields.read("beta2_exponent", 0.0f, 1.0f, options.beta2_exponent, "Of adafactor: beta2 is 1 - step^-beta2_exponent");
  fields.read("clip_update", 1e-6f, 1e30f, options.clip_update, "Of adafactor: the largest RMS of an update");
  fields.read("relative_step", options.relative_step, "Of adafactor: learning_rate is a share of a matrix's RMS");
  fields.read("weight_decay", 0.0f, 1e3f, options.weight_decay, "Of matrices, times the learning rate");
  fields.read("clip_norm", 0.0f, 1e30f, options.clip_norm, "Of all gradients together; 0: not clipped");
  fields.read("average", 0.0f, 0.999999f, options.average,
              "Decay of an average of the weights, which is evaluated and exported; 0: none");
  if (!fields.finish()) return options;
  for (const std::string_view key : {"beta2_exponent", "clip_update", "relative_step"}) {
    if (!factored && fields.has(key)) fields.fail_at(key, "set, expected it with kind adafactor alone");
  }
  if (factored && fields.has("beta2")) fields.fail_at("beta2", "set, expected beta2_exponent with adafactor");
  if (factored && options.eps == 0.0f) fields.fail_at("eps", "0, expected more than 0 with adafactor");
  return options;
}

Optimizer::Optimizer(const OptimizerOptions& options, const Parameters& parameters)
    : factored(options.kind == OptimizerOptions::Kind::kAdafactor) {
  if (!factored || options.beta1 > 0.0f) first = at::zeros_like(parameters.values());
  if (options.kind == OptimizerOptions::Kind::kAdamW) second = at::zeros_like(first);
  if (factored) second = at::zeros({factored_places(parameters).back().offset}, at::kFloat);
  if (options.average > 0.0f) average = parameters.values().clone();
}

std::int64_t Optimizer::bytes() const {
  std::int64_t sum = 0;
  for (const at::Tensor* part : {&first, &second, &average}) {
    if (part->defined()) sum += static_cast<std::int64_t>(part->nbytes());
  }
  return sum;
}

double gradient_norm(const Parameters& parameters) {
  const float* gradient = parameters.gradients().data_ptr<float>();
  const std::int64_t size = parameters.gradients().numel(), blocks = (size + kBlock - 1) / kBlock;
  std::vector<double> sums(blocks);
#pragma omp parallel for schedule(static)
  for (std::int64_t block = 0; block < blocks; ++block) {
    sums[block] = sum_of_squares(gradient + block * kBlock, std::min(kBlock, size - block * kBlock));
  }
  double sum = 0.0;
  for (const double value : sums) sum += value;
  return std::sqrt(sum);
}

void update(Optimizer& state, const OptimizerOptions& options, Parameters& parameters, double learning_rate,
            double gradient_scale, const std::vector<bool>& frozen) {
  ++state.step;
  const double step = static_cast<double>(state.step);
  const Factors factors{.scale = static_cast<float>(gradient_scale),
                        .rate = static_cast<float>(learning_rate),
                        .keep = static_cast<float>(1.0 - learning_rate * static_cast<double>(options.weight_decay)),
                        .first_share = static_cast<float>(1.0 - std::pow(static_cast<double>(options.beta1), step)),
                        .second_share = static_cast<float>(1.0 - std::pow(static_cast<double>(options.beta2), step))};
  if (state.factored) update_adafactor(state, options, parameters, learning_rate, gradient_scale, frozen);
  float* values = parameters.values().data_ptr<float>();
  const float* gradients = parameters.gradients().data_ptr<float>();
  float* first = state.first.defined() ? state.first.data_ptr<float>() : nullptr;
  float* second = state.second.defined() ? state.second.data_ptr<float>() : nullptr;
  float* average = state.average.defined() ? state.average.data_ptr<float>() : nullptr;
  // The average begins as what is there, and follows faster in the beginning.
  const float decay = std::min(options.average, static_cast<float>((step + 1.0) / (step + 10.0)));
  if (state.factored && average == nullptr) return;
  const std::vector<Piece> pieces = pieces_of(parameters, frozen);
#pragma omp parallel for schedule(static)
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const auto [begin, count, decays] = pieces[i];
    Factors own = factors;
    if (!decays) own.keep = 1.0f;
    switch (options.kind) {
      case OptimizerOptions::Kind::kAdamW:
        update_adamw(values + begin, gradients + begin, first + begin, second + begin, count, options, own);
        break;
      case OptimizerOptions::Kind::kLion:
        update_lion(values + begin, gradients + begin, first + begin, count, options, own);
        break;
      case OptimizerOptions::Kind::kSgd:
        update_sgd(values + begin, gradients + begin, first + begin, count, options, own);
        break;
      case OptimizerOptions::Kind::kAdafactor:
        break;  // done, matrix by matrix
    }
    if (average != nullptr) add_to_average(average + begin, values + begin, count, decay);
  }
}

void swap_average(Optimizer& state, Parameters& parameters) {
  if (!state.average.defined()) return;
  float* values = parameters.values().data_ptr<float>();
  std::swap_ranges(values, values + state.average.numel(), state.average.data_ptr<float>());
}

double update_flops(const OptimizerOptions& options) {
  constexpr double kNorm = 2.0, kScale = 1.0, kDecay = 1.0, kAverage = 3.0;
  double rule = 0.0;
  switch (options.kind) {
    case OptimizerOptions::Kind::kAdamW:
      rule = 14.0;
      break;
    case OptimizerOptions::Kind::kLion:
      rule = 8.0;
      break;
    case OptimizerOptions::Kind::kSgd:
      rule = 4.0;
      break;
    case OptimizerOptions::Kind::kAdafactor:  // squares and their sums, the update's size, the update
      rule = 11.0 + (options.relative_step ? 2.0 : 0.0) + (options.beta1 > 0.0f ? 3.0 : 0.0);
      break;
  }
  return kNorm + kScale + kDecay + rule + (options.average > 0.0f ? kAverage : 0.0);
}

double update_bytes(const OptimizerOptions& options) {
  const double average = options.average > 0.0f ? 2.0 : 0.0;
  if (options.kind == OptimizerOptions::Kind::kAdafactor) {
    // The gradient four times, the value read, and once more for its size, and written; factors are next to nothing.
    return 4.0 * (4.0 + 2.0 + (options.relative_step ? 1.0 : 0.0) + (options.beta1 > 0.0f ? 2.0 : 0.0) + average);
  }
  // The norm reads the gradient; the update reads value, gradient and moments and writes all but the gradient.
  const double moments = options.kind == OptimizerOptions::Kind::kAdamW ? 2.0 : 1.0;
  return 4.0 * (1.0 + 3.0 + 2.0 * moments + average);
}

}  // namespace junto
