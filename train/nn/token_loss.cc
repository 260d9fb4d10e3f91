#include "train/nn/token_loss.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <vector>

#include "train/nn/exponential.h"

namespace junto {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// The loss of one row; gradient [width], times `share`, where it is asked for.
template <class T>
[[gnu::always_inline]] inline T loss_and_gradient(const T* logits, std::int64_t target, std::int64_t width, T share,
                                                  T* gradient) {
  const T largest = largest_in_lanes(logits, width);
  if (gradient == nullptr) {
    const T sum = sum_in_lanes<T>(
        width, [=](std::int64_t i) __attribute__((always_inline)) { return exponential(logits[i] - largest); });
    return std::log(sum) + largest - logits[target];
  }
  const T sum = sum_in_lanes<T>(
      width, [=](std::int64_t i) __attribute__((always_inline)) {
        const T power = exponential(logits[i] - largest);
        gradient[i] = power;
        return power;
      });
  const T factor = share / sum;
  for (std::int64_t i = 0; i < width; ++i) gradient[i] *= factor;
  gradient[target] -= share;
  return std::log(sum) + largest - logits[target];
}

JUNTO_CLONES float loss_of_row(const float* logits, std::int64_t target, std::int64_t width, float share,
                               float* gradient) {
  return loss_and_gradient(logits, target, width, share, gradient);
}
double loss_of_row(const double* logits, std::int64_t target, std::int64_t width, double share, double* gradient) {
  return loss_and_gradient(logits, target, width, share, gradient);
}

/// The mean; gradient may be null.
template <class T>
T loss_of_rows(const T* logits, const std::int64_t* target, std::int64_t rows, std::int64_t width, T* gradient) {
  std::vector<T> losses(static_cast<std::size_t>(rows));
  const T share = T(1) / static_cast<T>(rows);
#pragma omp parallel for schedule(static)
  for (std::int64_t row = 0; row < rows; ++row) {
    losses[static_cast<std::size_t>(row)] = loss_of_row(logits + row * width, target[row], width, share,
                                                        gradient != nullptr ? gradient + row * width : nullptr);
  }
  double sum = 0.0;
  for (const T one : losses) sum += static_cast<double>(one);
  return static_cast<T>(sum / static_cast<double>(rows));
}

struct TokenLossFunction : torch::autograd::Function<TokenLossFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& logits_in, const at::Tensor& targets_in,
                            bool differentiated) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const at::Tensor logits = logits_in.contiguous(), targets = targets_in.contiguous();
    const at::Tensor loss = at::empty({}, logits.options().requires_grad(false));
    at::Tensor gradient;
    if (differentiated) gradient = at::empty_like(logits);
    AT_DISPATCH_FLOATING_TYPES(logits.scalar_type(), "token_loss", [&] {
      *loss.data_ptr<scalar_t>() =
          loss_of_rows(logits.data_ptr<scalar_t>(), targets.data_ptr<std::int64_t>(), logits.size(0), logits.size(1),
                       gradient.defined() ? gradient.data_ptr<scalar_t>() : nullptr);
    });
    if (differentiated) context->saved_data["gradient"] = gradient;
    return loss;
  }

  static variable_list backward(AutogradContext* context, const variable_list& d_outs) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "token_loss: there is no second derivative");
    at::AutoDispatchBelowADInplaceOrView guard;
    const auto found = context->saved_data.find("gradient");
    TORCH_CHECK(found != context->saved_data.end(), "token_loss: backward was called before");
    at::Tensor gradient = found->second.toTensor();
    context->saved_data.erase(found);  // it becomes what is returned
    const double factor = d_outs[0].item<double>();
    if (factor != 1.0) gradient.mul_(factor);
    return {gradient, at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor token_loss(const at::Tensor& logits, const at::Tensor& targets) {
  TORCH_CHECK(logits.dim() == 2 && logits.size(0) > 0 && targets.dim() == 1 && targets.size(0) == logits.size(0),
              "token_loss: logits are ", logits.sizes(), ", targets ", targets.sizes(), ", expected [rows, V], [rows]");
  TORCH_CHECK(targets.min().item<std::int64_t>() >= 0 && targets.max().item<std::int64_t>() < logits.size(1),
              "token_loss: a target is not 0 .. ", logits.size(1) - 1);
  return TokenLossFunction::apply(logits, targets, at::GradMode::is_enabled() && logits.requires_grad());
}

}  // namespace junto
