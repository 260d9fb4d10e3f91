// AdamW, Lion, SGD and Adafactor over flat arrays: one pass for clipping's norm, one for the update, the same bits
// whatever the number of threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "train/nn/parameters.h"

namespace junto {

/// m and v are the moments, g the gradient after clipping, r the learning rate; matrices decay by r * weight_decay
/// first.
///   kAdamW  m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,  w -= r m' / (sqrt(v') + eps), m' and v' unbiased
///           (Loshchilov and Hutter, arXiv 1711.05101)
///   kLion   w -= r sign(b1 m + (1 - b1) g),  then m = b2 m + (1 - b2) g  (Chen et al., arXiv 2302.06675)
///   kSgd    m = b1 m + g,  w -= r m
///   kAdafactor  train/loop/adafactor.h
struct OptimizerOptions {
  enum class Kind : std::uint8_t { kAdamW, kLion, kSgd, kAdafactor } kind = Kind::kAdamW;
  float learning_rate = 1e-3f;  // at the schedule's height
  float beta1 = 0.9f;           // Adafactor: 0 where not given, which is no first moment
  float beta2 = 0.95f;          // Lion: 0.99 where not given
  float eps = 1e-8f;            // Adafactor: 1e-30 where not given
  float weight_decay = 0.1f;
  float clip_norm = 1.0f;       // of all gradients together; 0: not clipped
  float beta2_exponent = 0.8f;  // of Adafactor, whose second decay is 1 - step^-beta2_exponent
  float clip_update = 1.0f;     // of Adafactor: the largest RMS of an update before the learning rate
  bool relative_step = true;    // of Adafactor: the learning rate is a share of the parameter's RMS
  float average = 0.0f;         // decay of an average of the weights, which is evaluated and exported instead; 0: none
};
OptimizerOptions parse_optimizer(const Json& json, std::string_view where);

struct Optimizer {
  at::Tensor first;       // moments, as Parameters::values(); undefined for Adafactor with beta1 0
  at::Tensor second;      // AdamW's, as Parameters::values(); Adafactor's, as factored_places(); else undefined
  at::Tensor average;     // of the weights; undefined where there is none
  bool factored = false;  // `second` is Adafactor's
  std::int64_t step = 0;  // updates done

  Optimizer(const OptimizerOptions& options, const Parameters& parameters);
  /// Bytes of moments and average.
  std::int64_t bytes() const;
};

/// The Euclidean norm of all gradients, summed in double.
double gradient_norm(const Parameters& parameters);

/// One update at `learning_rate`; gradients are multiplied by `gradient_scale` first. Parameters that are `frozen`
/// (by index in Parameters::all(); empty: none is) keep values and moments.
void update(Optimizer& state, const OptimizerOptions& options, Parameters& parameters, double learning_rate,
            double gradient_scale, const std::vector<bool>& frozen = {});

/// Weights and their average change places; nothing where there is none.
void swap_average(Optimizer& state, Parameters& parameters);

/// Arithmetic operations of norm, update and average, a parameter.
double update_flops(const OptimizerOptions& options);
/// Bytes of values, gradients and moments that norm, update and average read and write, a parameter.
double update_bytes(const OptimizerOptions& options);

}  // namespace junto
