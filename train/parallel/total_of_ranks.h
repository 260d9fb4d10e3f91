// Sums over ranks under autograd, for losses that are not the mean of each rank's own.
#pragma once

#include <ATen/core/Tensor.h>

#include "train/parallel/exchange.h"

namespace junto {

/// The sum of `local` over all ranks, float32 or float64, the same on each of them. The trainer takes the mean of the
/// ranks' gradients, so the one that goes on to `local` is that of the sum times the number of ranks: a loss of such
/// sums that every rank computes has the gradient that one process would give it. `ranks` null or alone: `local`.
at::Tensor total_of_ranks(Exchange* ranks, const at::Tensor& local);

/// Of numbers that carry no gradient, float32 or float64 and contiguous: replaced by their sums over ranks.
void sum_over_ranks(Exchange& exchange, at::Tensor& values);

}  // namespace junto
