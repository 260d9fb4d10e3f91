// Matrix products of a calibration's size, on the engine's own kernels.
#pragma once

#include "base/thread_pool.h"
#include "tensor/view.h"

namespace junto {

/// out[m, n] = sum over k of a[m, k] * b[n, k]; a [M, K], b [N, K], out [M, N]. Long sums are cut into pieces of fixed
/// length, so the bits do not depend on the number of threads.
void multiply_transposed(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> out, ThreadPool& pool);

/// out [cols, rows] = in [rows, cols] turned over.
void transpose(MatrixView<const float> in, MatrixView<float> out, ThreadPool& pool);

/// Solves (a + ridge * mean of a's diagonal * I) x = b for each row of b [M, N] in place, a [N, N] symmetric. The last
/// row and column of a are not penalised where `constant` says that they belong to a constant input. Throws Error where
/// the system is singular all the same.
void solve_ridge(MatrixView<const float> a, double ridge, MatrixView<float> b, bool constant = true);

}  // namespace junto
