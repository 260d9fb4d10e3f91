// Activations that are computed twice instead of kept (Chen et al., arXiv 1604.06174).
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

namespace junto {

using TensorFunction = std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>&)>;

/// body(inputs). Backward runs `body` again, on the same inputs and under autograd, and goes on through it: between the
/// two nothing is kept but the inputs. `body` computes the same bits each time; leaves that it reads by itself
/// (parameters) get their gradients as they do otherwise. All inputs and outputs are defined, no output is an input.
/// Where no gradients are recorded, or no input has one, it is body(inputs) and no more.
std::vector<at::Tensor> recomputed(TensorFunction body, const std::vector<at::Tensor>& inputs);

}  // namespace junto
