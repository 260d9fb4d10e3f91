// A linear layer under autograd, and the products that it is made of, shared out among threads. float32 or float64.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "train/nn/blas.h"

namespace junto {

/// x W^T: x [rows, D], weight [N, D] -> [rows, N]. The bits of the result and of gradients do not depend on the number
/// of threads. There is no second derivative: backward under create_graph throws.
at::Tensor project(const at::Tensor& x, const at::Tensor& weight);

/// gemm() of all threads: blocks of c, each by one thread, of a size that depends on m and n alone.
void shared_gemm(Transposed transpose_a, Transposed transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
                 const float* a, std::int64_t lda, const float* b, std::int64_t ldb, float beta, float* c,
                 std::int64_t ldc);
void shared_gemm(Transposed transpose_a, Transposed transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
                 const double* a, std::int64_t lda, const double* b, std::int64_t ldb, double beta, double* c,
                 std::int64_t ldc);

}  // namespace junto
