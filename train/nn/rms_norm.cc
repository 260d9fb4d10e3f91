#include "train/nn/rms_norm.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>

#include "train/nn/exponential.h"

namespace junto {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr std::int64_t kNormRows = 64;  // whose share of the weight's gradient is summed by one thread

template <class T>
[[gnu::always_inline]] inline void norm_block(const T* x, const T* weight, T eps, std::int64_t rows, std::int64_t width,
                                              T* out, T* inverse) {
  for (std::int64_t r = 0; r < rows; ++r, x += width, out += width) {
    const T* row = x;
    const T squares = sum_in_lanes<T>(
        width, [row](std::int64_t i) __attribute__((always_inline)) { return row[i] * row[i]; });
    const T factor = T(1) / std::sqrt(squares / static_cast<T>(width) + eps);
    inverse[r] = factor;
#pragma GCC ivdep
    for (std::int64_t i = 0; i < width; ++i) out[i] = row[i] * factor * weight[i];
  }
}

/// d_weight [width] of these rows alone; d_x may be null.
template <class T>
[[gnu::always_inline]] inline void norm_block_backward(const T* x, const T* weight, const T* inverse, const T* d_out,
                                                       std::int64_t rows, std::int64_t width, T* d_x, T* d_weight) {
  std::fill(d_weight, d_weight + width, T(0));
  for (std::int64_t r = 0; r < rows; ++r, x += width, d_out += width) {
    const T *row = x, *d_row = d_out;
    const T factor = inverse[r];
#pragma GCC ivdep
    for (std::int64_t i = 0; i < width; ++i) d_weight[i] += d_row[i] * (row[i] * factor);
    if (d_x == nullptr) continue;
    const T along = sum_in_lanes<T>(
        width, [=](std::int64_t i) __attribute__((always_inline)) { return d_row[i] * weight[i] * row[i]; });
    const T back = along * factor * factor / static_cast<T>(width);
    T* to = d_x + r * width;
#pragma GCC ivdep
    for (std::int64_t i = 0; i < width; ++i) to[i] = factor * (d_row[i] * weight[i] - row[i] * back);
  }
}

JUNTO_CLONES void norm_rows(const float* x, const float* weight, float eps, std::int64_t rows, std::int64_t width,
                            float* out, float* inverse) {
  norm_block(x, weight, eps, rows, width, out, inverse);
}
void norm_rows(const double* x, const double* weight, double eps, std::int64_t rows, std::int64_t width, double* out,
               double* inverse) {
  norm_block(x, weight, eps, rows, width, out, inverse);
}
JUNTO_CLONES void norm_rows_backward(const float* x, const float* weight, const float* inverse, const float* d_out,
                                     std::int64_t rows, std::int64_t width, float* d_x, float* d_weight) {
  norm_block_backward(x, weight, inverse, d_out, rows, width, d_x, d_weight);
}
void norm_rows_backward(const double* x, const double* weight, const double* inverse, const double* d_out,
                        std::int64_t rows, std::int64_t width, double* d_x, double* d_weight) {
  norm_block_backward(x, weight, inverse, d_out, rows, width, d_x, d_weight);
}

std::int64_t blocks_of(std::int64_t rows) {
  return (rows + kNormRows - 1) / kNormRows;
}

template <class T>
void norm_all(const T* x, const T* weight, T eps, std::int64_t rows, std::int64_t width, T* out, T* inverse) {
#pragma omp parallel for schedule(static)
  for (std::int64_t block = 0; block < blocks_of(rows); ++block) {
    const std::int64_t first = block * kNormRows, at = first * width, count = std::min(kNormRows, rows - first);
    norm_rows(x + at, weight, eps, count, width, out + at, inverse + first);
  }
}

/// of_blocks [blocks, width] is scratch: the weight's gradient is summed in the order of rows, whoever computed them.
template <class T>
void norm_all_backward(const T* x, const T* weight, const T* inverse, const T* d_out, std::int64_t rows,
                       std::int64_t width, T* of_blocks, T* d_x, T* d_weight) {
  const std::int64_t blocks = blocks_of(rows);
#pragma omp parallel for schedule(static)
  for (std::int64_t block = 0; block < blocks; ++block) {
    const std::int64_t first = block * kNormRows, at = first * width, count = std::min(kNormRows, rows - first);
    norm_rows_backward(x + at, weight, inverse + first, d_out + at, count, width, d_x != nullptr ? d_x + at : nullptr,
                       of_blocks + block * width);
  }
  std::fill(d_weight, d_weight + width, T(0));
  for (std::int64_t block = 0; block < blocks; ++block) {
    for (std::int64_t i = 0; i < width; ++i) d_weight[i] += of_blocks[block * width + i];
  }
}

struct RmsNormFunction : torch::autograd::Function<RmsNormFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x_in, const at::Tensor& weight_in, double eps) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const at::Tensor x = x_in.contiguous(), weight = weight_in.contiguous();
    const std::int64_t width = weight.numel(), rows = x.numel() / width;
    const at::Tensor out = at::empty_like(x), inverse = at::empty({rows}, x.options().requires_grad(false));
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "rms_norm", [&] {
      norm_all(x.data_ptr<scalar_t>(), weight.data_ptr<scalar_t>(), static_cast<scalar_t>(eps), rows, width,
               out.data_ptr<scalar_t>(), inverse.data_ptr<scalar_t>());
    });
    context->save_for_backward({x, weight, inverse});
    context->saved_data["x"] = x_in.requires_grad();
    return out;
  }

  static variable_list backward(AutogradContext* context, const variable_list& d_outs) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "rms_norm: there is no second derivative");
    at::AutoDispatchBelowADInplaceOrView guard;
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &inverse = saved[2], d_out = d_outs[0].contiguous();
    const std::int64_t width = weight.numel(), rows = x.numel() / width;
    const auto options = x.options().requires_grad(false);
    const at::Tensor of_blocks = at::empty({blocks_of(rows), width}, options), d_weight = at::empty({width}, options);
    at::Tensor d_x;
    if (context->saved_data["x"].toBool()) d_x = at::empty_like(x);
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "rms_norm_backward", [&] {
      norm_all_backward(x.data_ptr<scalar_t>(), weight.data_ptr<scalar_t>(), inverse.data_ptr<scalar_t>(),
                        d_out.data_ptr<scalar_t>(), rows, width, of_blocks.data_ptr<scalar_t>(),
                        d_x.defined() ? d_x.data_ptr<scalar_t>() : nullptr, d_weight.data_ptr<scalar_t>());
    });
    return {d_x, d_weight, at::Tensor()};
  }
};

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  TORCH_CHECK(weight.dim() == 1 && weight.numel() > 0 && x.dim() > 0 && x.size(-1) == weight.numel(), "rms_norm: x is ",
              x.sizes(), ", weight ", weight.sizes(), ", expected [..., D] and [D]");
  TORCH_CHECK(x.scalar_type() == weight.scalar_type(), "rms_norm: types differ");
  return RmsNormFunction::apply(x, weight, eps);
}

}  // namespace junto
