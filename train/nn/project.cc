#include "train/nn/project.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

namespace junto {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Rows and columns of c that one task computes: large ones read their operands less often, small ones of a small c are
/// enough for all threads.
std::int64_t block_of(std::int64_t m, std::int64_t n) {
  constexpr std::int64_t kLarge = 256, kSmall = 128, kEnough = 8;
  return (m + kLarge - 1) / kLarge * ((n + kLarge - 1) / kLarge) >= kEnough ? kLarge : kSmall;
}

template <class T>
void gemm_in_blocks(Transposed transpose_a, Transposed transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
                    const T* a, std::int64_t lda, const T* b, std::int64_t ldb, T beta, T* c, std::int64_t ldc) {
  const std::int64_t size = block_of(m, n), across = (n + size - 1) / size, tasks = (m + size - 1) / size * across;
#pragma omp parallel for schedule(dynamic, 1)
  for (std::int64_t task = 0; task < tasks; ++task) {
    const std::int64_t row = task / across * size, column = task % across * size;
    gemm(transpose_a, transpose_b, std::min(size, m - row), std::min(size, n - column), k,
         a + (transpose_a == Transposed::kYes ? row : row * lda), lda,
         b + (transpose_b == Transposed::kYes ? column * ldb : column), ldb, beta, c + row * ldc + column, ldc);
  }
}

struct ProjectFunction : torch::autograd::Function<ProjectFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x_in, const at::Tensor& weight_in) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const at::Tensor x = x_in.contiguous(), weight = weight_in.contiguous();
    const std::int64_t rows = x.size(0), D = x.size(1), N = weight.size(0);
    const at::Tensor out = at::empty({rows, N}, x.options().requires_grad(false));
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "project", [&] {
      shared_gemm(Transposed::kNo, Transposed::kYes, rows, N, D, x.data_ptr<scalar_t>(), D, weight.data_ptr<scalar_t>(),
                  D, scalar_t(0), out.data_ptr<scalar_t>(), N);
    });
    // Each for the gradient of the other.
    context->save_for_backward(
        {weight_in.requires_grad() ? x : at::Tensor(), x_in.requires_grad() ? weight : at::Tensor()});
    context->saved_data["x"] = x_in.requires_grad();
    context->saved_data["weight"] = weight_in.requires_grad();
    return out;
  }

  static variable_list backward(AutogradContext* context, const variable_list& d_outs) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "project: there is no second derivative");
    at::AutoDispatchBelowADInplaceOrView guard;
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], d_out = d_outs[0].contiguous();
    const std::int64_t rows = d_out.size(0), N = d_out.size(1), D = x.defined() ? x.size(1) : weight.size(1);
    const auto options = d_out.options().requires_grad(false);
    at::Tensor d_x, d_weight;
    AT_DISPATCH_FLOATING_TYPES(d_out.scalar_type(), "project_backward", [&] {
      const auto* from = d_out.data_ptr<scalar_t>();
      if (context->saved_data["x"].toBool()) {
        d_x = at::empty({rows, D}, options);
        shared_gemm(Transposed::kNo, Transposed::kNo, rows, D, N, from, N, weight.data_ptr<scalar_t>(), D, scalar_t(0),
                    d_x.data_ptr<scalar_t>(), D);
      }
      if (context->saved_data["weight"].toBool()) {
        d_weight = at::empty({N, D}, options);
        shared_gemm(Transposed::kYes, Transposed::kNo, N, D, rows, from, N, x.data_ptr<scalar_t>(), D, scalar_t(0),
                    d_weight.data_ptr<scalar_t>(), D);
      }
    });
    return {d_x, d_weight};
  }
};

}  // namespace

void shared_gemm(Transposed transpose_a, Transposed transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
                 const float* a, std::int64_t lda, const float* b, std::int64_t ldb, float beta, float* c,
                 std::int64_t ldc) {
  gemm_in_blocks(transpose_a, transpose_b, m, n, k, a, lda, b, ldb, beta, c, ldc);
}

void shared_gemm(Transposed transpose_a, Transposed transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
                 const double* a, std::int64_t lda, const double* b, std::int64_t ldb, double beta, double* c,
                 std::int64_t ldc) {
  gemm_in_blocks(transpose_a, transpose_b, m, n, k, a, lda, b, ldb, beta, c, ldc);
}

at::Tensor project(const at::Tensor& x, const at::Tensor& weight) {
  TORCH_CHECK(x.dim() == 2 && weight.dim() == 2 && x.size(1) == weight.size(1), "project: x is ", x.sizes(),
              ", weight ", weight.sizes(), ", expected [rows, D] and [N, D]");
  TORCH_CHECK(x.scalar_type() == weight.scalar_type(), "project: types differ");
  if (x.size(0) == 0 || weight.numel() == 0) return at::mm(x, weight.t());
  return ProjectFunction::apply(x, weight);
}

}  // namespace junto
