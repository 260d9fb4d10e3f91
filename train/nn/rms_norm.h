// RMSNorm (Zhang, Sennrich, arXiv 1910.07467) as one function of autograd. float32 or float64.
#pragma once

#include <ATen/core/Tensor.h>

namespace junto {

/// x * weight / sqrt(mean(x^2) + eps), the mean over the last dimension. x [..., D], weight [D]. The bits of the result
/// and of gradients do not depend on the number of threads. There is no second derivative: backward under create_graph
/// throws.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

}  // namespace junto
