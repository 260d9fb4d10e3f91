#include "compress/carve_products.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/error.h"
#include "kernels/matmul.h"

namespace junto {
namespace {

constexpr std::int64_t kPiece = 1024;  // of K: what a tile reads again stays in the second-level cache

WeightMatrix weights_of(MatrixView<const float> view) {
  WeightMatrix w;
  w.type = DType::kF32;
  w.rows = view.rows;
  w.cols = view.cols;
  w.row_bytes = static_cast<std::size_t>(view.stride) * sizeof(float);
  w.data = reinterpret_cast<const std::byte*>(view.data);
  return w;
}

}  // namespace

void multiply_transposed(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> out,
                         ThreadPool& pool) {
  Matrix<float> piece(a.rows, b.rows);
  for (std::int64_t r = 0; r < out.rows; ++r) std::ranges::fill(out.row(r), 0.0f);
  for (std::int64_t k = 0; k < a.cols; k += kPiece) {
    const std::int64_t length = std::min(kPiece, a.cols - k);
    ActivationRows x;
    x.assign({a.data + k, a.rows, length, a.stride});
    const WeightMatrix w = weights_of({b.data + k, b.rows, length, b.stride});
    const std::int64_t block = matmul_block_rows(w);
    pool.for_each_block((b.rows + block - 1) / block, [&](std::int64_t i, int) {
      const RowRange range{i * block, std::min(b.rows, (i + 1) * block)};
      matmul(w, range, x, {}, piece.view(), {});
      for (std::int64_t m = 0; m < a.rows; ++m) {
        for (std::int64_t n = range.begin; n < range.end; ++n) out.at(m, n) += piece.view().at(m, n);
      }
    });
  }
}

void transpose(MatrixView<const float> in, MatrixView<float> out, ThreadPool& pool) {
  constexpr std::int64_t kTile = 32;
  pool.for_each_block((in.cols + kTile - 1) / kTile, [&](std::int64_t tile, int) {
    const std::int64_t end = std::min(in.cols, (tile + 1) * kTile);
    for (std::int64_t r0 = 0; r0 < in.rows; r0 += kTile) {
      for (std::int64_t c = tile * kTile; c < end; ++c) {
        for (std::int64_t r = r0; r < std::min(in.rows, r0 + kTile); ++r) out.at(c, r) = in.at(r, c);
      }
    }
  });
}

void solve_ridge(MatrixView<const float> a, double ridge, MatrixView<float> b, bool constant) {
  const std::int64_t n = a.rows;
  double mean = 0;
  for (std::int64_t i = 0; i < n; ++i) mean += a.at(i, i) / static_cast<double>(n);
  std::vector<double> lower(static_cast<std::size_t>(n * n));
  const auto at = [&](std::int64_t i, std::int64_t j) -> double& { return lower[static_cast<std::size_t>(i * n + j)]; };
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j <= i; ++j) {
      double sum = a.at(i, j);
      if (i == j) sum += (i + 1 < n || !constant ? ridge : 1e-9) * mean;
      const double* x = lower.data() + i * n;
      const double* y = lower.data() + j * n;
      for (std::int64_t k = 0; k < j; ++k) sum -= x[k] * y[k];
      if (i != j) {
        at(i, j) = sum / at(j, j);
        continue;
      }
      if (!(sum > 0))
        fail("carve", "the router's equations have no solution: calibration text too short or too uniform");
      at(i, i) = std::sqrt(sum);
    }
  }
  std::vector<double> x(static_cast<std::size_t>(n));
  for (std::int64_t r = 0; r < b.rows; ++r) {
    const std::span<float> row = b.row(r);
    for (std::int64_t i = 0; i < n; ++i) {
      double sum = row[i];
      for (std::int64_t k = 0; k < i; ++k) sum -= at(i, k) * x[k];
      x[i] = sum / at(i, i);
    }
    for (std::int64_t i = n; i-- > 0;) {
      double sum = x[i];
      for (std::int64_t k = i + 1; k < n; ++k) sum -= at(k, i) * x[k];
      x[i] = sum / at(i, i);
    }
    for (std::int64_t i = 0; i < n; ++i) row[i] = static_cast<float>(x[i]);
  }
}

}  // namespace junto
