#include "compress/carve_products.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/error.h"
#include "kernels/matmul.h"

namespace junto {
namespace {

constexpr std::int64_t kPiece = 1024;   // of K: what a tile reads again stays in the second-level cache
constexpr std::int64_t kTriangle = 64;  // columns of a triangle that are filled together
constexpr int kChains = 4;              // rows of it whose sums advance together

WeightMatrix weights_of(MatrixView<const float> view) {
  WeightMatrix w;
  w.type = DType::kF32;
  w.rows = view.rows;
  w.cols = view.cols;
  w.row_bytes = static_cast<std::size_t>(view.stride) * sizeof(float);
  w.data = reinterpret_cast<const std::byte*>(view.data);
  return w;
}

// Columns [columns.begin, columns.end) of rows i, i + 1, ... i + kRows - 1 below them: each entry is a sum of its own,
// so that the additions of one need not wait for those of another.
template <int kRows>
void fill_entries(MatrixView<const float> a, LowerTriangle& lower, std::int64_t i, RowRange columns) {
  const std::int64_t n = lower.n;
  double* rows = lower.values.data() + i * n;
  for (std::int64_t j = columns.begin; j < columns.end; ++j) {
    const double* other = lower.values.data() + j * n;
    double sums[kRows];
    for (int r = 0; r < kRows; ++r) sums[r] = a.at(i + r, j);
    for (std::int64_t k = 0; k < j; ++k) {
      for (int r = 0; r < kRows; ++r) sums[r] -= rows[r * n + k] * other[k];
    }
    for (int r = 0; r < kRows; ++r) rows[r * n + j] = sums[r] / other[j];
  }
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

LowerTriangle cholesky(MatrixView<const float> a, double ridge, bool constant, ThreadPool& pool) {
  const std::int64_t n = a.rows;
  double mean = 0;
  for (std::int64_t i = 0; i < n; ++i) mean += a.at(i, i) / static_cast<double>(n);
  const auto added = [&](std::int64_t i) { return (i + 1 < n || !constant ? ridge : 1e-9) * mean; };
  LowerTriangle lower{n, std::vector<double>(static_cast<std::size_t>(n * n))};
  for (std::int64_t first = 0; first < n; first += kTriangle) {
    const std::int64_t end = std::min(n, first + kTriangle);
    for (std::int64_t i = first; i < end; ++i) {
      fill_entries<1>(a, lower, i, {first, i});
      double* row = lower.values.data() + i * n;
      double sum = a.at(i, i) + added(i);
      for (std::int64_t k = 0; k < i; ++k) sum -= row[k] * row[k];
      if (!(sum > 0)) fail("carve", "the equations have no solution: calibration text too short or too uniform");
      row[i] = std::sqrt(sum);
    }
    pool.for_each_block((n - end + kChains - 1) / kChains, [&](std::int64_t block, int) {
      std::int64_t i = end + block * kChains;
      const std::int64_t stop = std::min(n, i + kChains);
      if (stop - i == kChains) return fill_entries<kChains>(a, lower, i, {first, end});
      for (; i < stop; ++i) fill_entries<1>(a, lower, i, {first, end});
    });
  }
  return lower;
}

void solve_ridge(MatrixView<const float> a, double ridge, MatrixView<float> b, ThreadPool& pool, bool constant) {
  const std::int64_t n = a.rows;
  const LowerTriangle lower = cholesky(a, ridge, constant, pool);
  pool.for_each_block(b.rows, [&](std::int64_t r, int) {
    std::vector<double> x(static_cast<std::size_t>(n));
    const std::span<float> row = b.row(r);
    for (std::int64_t i = 0; i < n; ++i) {
      double sum = row[i];
      for (std::int64_t k = 0; k < i; ++k) sum -= lower.at(i, k) * x[k];
      x[i] = sum / lower.at(i, i);
    }
    for (std::int64_t i = n; i-- > 0;) {
      double sum = x[i];
      for (std::int64_t k = i + 1; k < n; ++k) sum -= lower.at(k, i) * x[k];
      x[i] = sum / lower.at(i, i);
    }
    for (std::int64_t i = 0; i < n; ++i) row[i] = static_cast<float>(x[i]);
  });
}

}  // namespace junto
