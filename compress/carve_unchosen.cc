#include "compress/carve_unchosen.h"

#include <algorithm>
#include <cmath>

#include "compress/carve_products.h"
#include "tensor/half.h"

namespace junto {
namespace {

constexpr double kUnchosenRidge = 1e-4;

// 1 where a token lacks the expert at the share-th smallest number of chosen experts, [experts, T].
Matrix<float> absences(MatrixView<const float> chosen, int share, int shares) {
  Matrix<float> absent(chosen.rows, chosen.cols);
  for (std::int64_t e = 0; e < chosen.rows; ++e) {
    for (std::int64_t t = 0; t < chosen.cols; ++t) {
      const auto has = std::lround(chosen.at(e, t) * static_cast<float>(shares));
      absent.view().at(e, t) = has < shares - share ? 1.0f : 0.0f;
    }
  }
  return absent;
}

// What the absent experts would have put out, [D, T].
Matrix<float> missing_output(const BlockSample& sample, MatrixView<const float> down,
                             const std::vector<std::vector<std::int32_t>>& experts, MatrixView<const float> absent,
                             ThreadPool& pool) {
  Matrix<float> hidden(sample.tokens, sample.width), out(down.rows, sample.tokens);
  pool.for_each_block(sample.tokens, [&](std::int64_t t, int) {
    const std::span<float> row = hidden.view().row(t);
    std::ranges::fill(row, 0.0f);
    for (std::size_t e = 0; e < experts.size(); ++e) {
      if (absent.at(static_cast<std::int64_t>(e), t) == 0.0f) continue;
      for (const std::int32_t n : experts[e]) row[n] = bf16_to_float(sample.hidden[t * sample.width + n]);
    }
  });
  multiply_transposed(down, hidden.view(), out.view(), pool);
  return out;
}

void add_to(Matrix<float>& sums, const Matrix<float>& values) {
  for (std::size_t i = 0; i < sums.values.size(); ++i) sums.values[i] += values.values[i];
}

}  // namespace

Matrix<float> fit_unchosen_outputs(const BlockSample& sample, MatrixView<const float> down,
                                   const std::vector<std::vector<std::int32_t>>& experts,
                                   MatrixView<const float> chosen, int shares, ThreadPool& pool) {
  const std::int64_t count = std::ssize(experts);
  Matrix<float> moments(count, count), sums(down.rows, count);
  for (int share = 0; share < shares; ++share) {
    const Matrix<float> absent = absences(chosen, share, shares);
    const Matrix<float> missing = missing_output(sample, down, experts, absent.view(), pool);
    Matrix<float> weighted = absent;
    for (std::int64_t e = 0; e < count; ++e) {
      for (std::int64_t t = 0; t < sample.tokens; ++t)
        weighted.view().at(e, t) /= std::max(sample.stream_squares[t], 1e-20f);
    }
    Matrix<float> part(count, count), output(down.rows, count);
    multiply_transposed(weighted.view(), absent.view(), part.view(), pool);
    multiply_transposed(missing.view(), weighted.view(), output.view(), pool);
    add_to(moments, part);
    add_to(sums, output);
  }
  solve_ridge(moments.view(), kUnchosenRidge, sums.view(), pool, false);
  Matrix<float> left(count, down.rows);
  transpose(sums.view(), left.view(), pool);
  return left;
}

}  // namespace junto
