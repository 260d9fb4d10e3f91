#include "train/loop/adamw.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "moe/json_fields.h"

namespace junto {
namespace {

constexpr std::int64_t kBlock = 1 << 15;  // values that one thread takes at a time

void update_block(float* __restrict value, const float* __restrict gradient, float* __restrict first,
                  float* __restrict second, std::int64_t count, float scale, const AdamWOptions& o, float rate,
                  float keep, float first_share, float second_share) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float g = gradient[i] * scale;
    const float m = o.beta1 * first[i] + (1.0f - o.beta1) * g;
    const float v = o.beta2 * second[i] + (1.0f - o.beta2) * g * g;
    first[i] = m;
    second[i] = v;
    value[i] = value[i] * keep - rate * (m / first_share) / (std::sqrt(v / second_share) + o.eps);
  }
}

}  // namespace

AdamWOptions parse_adamw(const Json& json, std::string_view where) {
  JsonFields fields(json, where, "optimizer");
  AdamWOptions options;
  const auto read = [&](std::string_view key, float max, float& value) {
    value = fields.number(key, 0.0f, max).value_or(value);
  };
  read("learning_rate", 1e3f, options.learning_rate);
  read("beta1", 0.999999f, options.beta1);
  read("beta2", 0.999999f, options.beta2);
  read("eps", 1.0f, options.eps);
  read("weight_decay", 1e3f, options.weight_decay);
  read("clip_norm", 1e30f, options.clip_norm);
  fields.finish();
  return options;
}

AdamW::AdamW(const Parameters& parameters)
    : first(at::zeros_like(parameters.values())), second(at::zeros_like(parameters.values())) {}

double gradient_norm(const Parameters& parameters) {
  const float* gradient = parameters.gradients().data_ptr<float>();
  const std::int64_t size = parameters.gradients().numel(), blocks = (size + kBlock - 1) / kBlock;
  std::vector<double> sums(blocks);
#pragma omp parallel for schedule(static)
  for (std::int64_t block = 0; block < blocks; ++block) {
    const std::int64_t end = std::min(size, (block + 1) * kBlock);
    double lanes[8] = {};
    for (std::int64_t i = block * kBlock; i < end; i += 8) {  // sizes are multiples of 16
      for (int lane = 0; lane < 8; ++lane) lanes[lane] += static_cast<double>(gradient[i + lane]) * gradient[i + lane];
    }
    for (const double lane : lanes) sums[block] += lane;
  }
  double sum = 0.0;
  for (const double value : sums) sum += value;
  return std::sqrt(sum);
}

void update(AdamW& state, const AdamWOptions& options, Parameters& parameters, double learning_rate,
            double gradient_scale) {
  ++state.step;
  const double step = static_cast<double>(state.step);
  const float first_share = static_cast<float>(1.0 - std::pow(static_cast<double>(options.beta1), step));
  const float second_share = static_cast<float>(1.0 - std::pow(static_cast<double>(options.beta2), step));
  const float rate = static_cast<float>(learning_rate), scale = static_cast<float>(gradient_scale);
  const float decayed = static_cast<float>(1.0 - learning_rate * static_cast<double>(options.weight_decay));
  float* values = parameters.values().data_ptr<float>();
  const float* gradients = parameters.gradients().data_ptr<float>();
  float *first = state.first.data_ptr<float>(), *second = state.second.data_ptr<float>();
  struct Piece {
    std::int64_t begin, count;
    bool decays;
  };
  std::vector<Piece> pieces;
  for (const Parameter& parameter : parameters.all()) {
    for (std::int64_t at = 0; at < parameter.value.numel(); at += kBlock) {
      pieces.push_back({parameter.offset + at, std::min(kBlock, parameter.value.numel() - at), parameter.decays});
    }
  }
#pragma omp parallel for schedule(static)
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const auto [begin, count, decays] = pieces[i];
    update_block(values + begin, gradients + begin, first + begin, second + begin, count, scale, options, rate,
                 decays ? decayed : 1.0f, first_share, second_share);
  }
}

}  // namespace junto
