#include "compress/carve_products.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "base/random.h"

namespace junto {
namespace {

Matrix<float> random_matrix(std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
  Matrix<float> out(rows, cols);
  Random random(seed);
  for (float& value : out.values) value = static_cast<float>(2 * random.uniform() - 1);
  return out;
}

TEST(CarveProducts, LongSumsInPiecesAreTheSum) {
  ThreadPool pool(2);
  const Matrix<float> a = random_matrix(5, 2500, 1), b = random_matrix(37, 2500, 2);
  Matrix<float> out(5, 37);
  multiply_transposed(a.view(), b.view(), out.view(), pool);
  for (std::int64_t m = 0; m < 5; ++m) {
    for (std::int64_t n = 0; n < 37; ++n) {
      double sum = 0;
      for (std::int64_t k = 0; k < 2500; ++k) sum += static_cast<double>(a.view().at(m, k)) * b.view().at(n, k);
      EXPECT_NEAR(out.view().at(m, n), sum, 1e-3) << m << ", " << n;
    }
  }
}

TEST(CarveProducts, RidgeRecoversALinearMapWithItsConstant) {
  ThreadPool pool(1);
  Matrix<float> x = random_matrix(400, 9, 3);
  for (std::int64_t t = 0; t < 400; ++t) x.view().at(t, 8) = 1.0f;
  const Matrix<float> truth = random_matrix(3, 9, 4);
  Matrix<float> y(400, 3), by_feature(9, 400), y_by_row(3, 400), moments(9, 9), found(3, 9);
  multiply_transposed(x.view(), truth.view(), y.view(), pool);
  transpose(x.view(), by_feature.view(), pool);
  transpose(y.view(), y_by_row.view(), pool);
  multiply_transposed(by_feature.view(), by_feature.view(), moments.view(), pool);
  multiply_transposed(y_by_row.view(), by_feature.view(), found.view(), pool);
  solve_ridge(moments.view(), 1e-7, found.view(), pool);
  for (std::size_t i = 0; i < truth.values.size(); ++i) EXPECT_NEAR(found.values[i], truth.values[i], 1e-4);
}

TEST(CarveProducts, ATriangleTimesItsTransposeIsTheMatrix) {
  constexpr std::int64_t kSize = 199;  // neither whole triangles nor whole groups of rows
  const Matrix<float> x = random_matrix(kSize, 2 * kSize, 5);
  Matrix<float> moments(kSize, kSize);
  std::vector<double> values;
  for (const int threads : {1, 2}) {
    ThreadPool pool(threads);
    multiply_transposed(x.view(), x.view(), moments.view(), pool);
    const LowerTriangle lower = cholesky(moments.view(), 0, false, pool);
    for (std::int64_t i = 0; i < kSize; ++i) {
      for (std::int64_t j = 0; j < kSize; ++j) {
        double sum = 0;
        for (std::int64_t k = 0; k < kSize; ++k) sum += lower.at(i, k) * lower.at(j, k);
        ASSERT_NEAR(sum, moments.view().at(i, j), 1e-4) << i << ", " << j;
        if (j > i) {
          ASSERT_EQ(lower.at(i, j), 0);
        }
      }
    }
    if (values.empty()) values = lower.values;
    EXPECT_EQ(values, lower.values);
  }
}

TEST(CarveProducts, ASystemWithoutSolutionIsRefused) {
  Matrix<float> moments(2, 2), b(1, 2);
  ThreadPool pool(1);
  EXPECT_THROW(solve_ridge(moments.view(), 1e-3, b.view(), pool), Error);
}

}  // namespace
}  // namespace junto
