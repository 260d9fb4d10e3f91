// A stage of one's own: router logits by distance. An expert has a place, and rows go to the experts near them.
#pragma once

#include <ATen/core/Tensor.h>

/// How fast an expert's logit falls with the squared distance to its place.
struct DistanceLogits {
  double temperature = 1.0;
};

/// x [units, D], places [E, D] -> logits [units, E] = -|x - place|^2 / temperature, under autograd.
at::Tensor distance_logits(const DistanceLogits& rule, const at::Tensor& x, const at::Tensor& places);
