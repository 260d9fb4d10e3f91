// AdamW over flat arrays: one pass for clipping's norm, one for the update, the same bits whatever the number of
// threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string_view>

#include "base/json.h"
#include "train/nn/parameters.h"

namespace junto {

struct AdamWOptions {
  float learning_rate = 1e-3f;  // at the schedule's height
  float beta1 = 0.9f;
  float beta2 = 0.95f;
  float eps = 1e-8f;
  float weight_decay = 0.1f;  // of matrices, times the learning rate (Loshchilov and Hutter, arXiv 1711.05101)
  float clip_norm = 1.0f;     // of all gradients together; 0: not clipped
};
AdamWOptions parse_adamw(const Json& json, std::string_view where);

struct AdamW {
  at::Tensor first, second;  // moments, as Parameters::values()
  std::int64_t step = 0;     // updates done

  explicit AdamW(const Parameters& parameters);
};

/// The Euclidean norm of all gradients, summed in double.
double gradient_norm(const Parameters& parameters);

/// One update at `learning_rate`; gradients are multiplied by `gradient_scale` first.
void update(AdamW& state, const AdamWOptions& options, Parameters& parameters, double learning_rate,
            double gradient_scale);

}  // namespace junto
