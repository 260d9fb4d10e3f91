// Cross entropy of rows of logits as one function of autograd. float32 or float64.
#pragma once

#include <ATen/core/Tensor.h>

namespace junto {

/// Mean over rows of log(sum of e^logit) - logit[target], in nats: a scalar. logits [rows, V], rows > 0; targets
/// [rows], int64, each 0 .. V - 1 (else it throws). Where `logits` has a gradient it is computed on the way, while a
/// row is in cache: the logits are read once. The bits do not depend on the number of threads. Backward may be called
/// once, and has no second derivative.
at::Tensor token_loss(const at::Tensor& logits, const at::Tensor& targets);

}  // namespace junto
