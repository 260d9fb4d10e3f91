// Matrix products of a calibration's size, on the engine's own kernels.
#pragma once

#include <cstdint>
#include <vector>

#include "base/thread_pool.h"
#include "tensor/view.h"

namespace junto {

/// out[m, n] = sum over k of a[m, k] * b[n, k]; a [M, K], b [N, K], out [M, N]. Long sums are cut into pieces of fixed
/// length, so the bits do not depend on the number of threads.
void multiply_transposed(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> out, ThreadPool& pool);

/// out [cols, rows] = in [rows, cols] turned over.
void transpose(MatrixView<const float> in, MatrixView<float> out, ThreadPool& pool);

/// The lower triangle of an [N, N] matrix, in double; what lies above it is 0.
struct LowerTriangle {
  std::int64_t n = 0;
  std::vector<double> values;  // [N, N]

  double at(std::int64_t i, std::int64_t j) const { return values[static_cast<std::size_t>(i * n + j)]; }
};

/// L with L L^T = a + ridge * mean of a's diagonal * I, a [N, N] symmetric. The last row and column of a get 1e-9 in
/// place of `ridge` where `constant` says that they belong to a constant input. Throws Error where there is none.
LowerTriangle cholesky(MatrixView<const float> a, double ridge, bool constant, ThreadPool& pool);

/// Solves (a + ridge * mean of a's diagonal * I) x = b for each row of b [M, N] in place: by cholesky(), which says
/// what `constant` means. Throws Error where the system is singular all the same.
void solve_ridge(MatrixView<const float> a, double ridge, MatrixView<float> b, ThreadPool& pool, bool constant = true);

}  // namespace junto
