#include "distance_logits.h"

#include <ATen/ATen.h>

at::Tensor distance_logits(const DistanceLogits& rule, const at::Tensor& x, const at::Tensor& places) {
  const at::Tensor squares = x.square().sum(1, /*keepdim=*/true) + places.square().sum(1) - 2.0 * at::mm(x, places.t());
  return -squares / rule.temperature;
}
