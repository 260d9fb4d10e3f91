#include "train/nn/blas.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <array>
#include <cstdlib>
#include <vector>

namespace junto {
namespace {

// Debian's default flavour has threads of its own beside OpenMP's: everything would work, 3 to 4 times slower.
TEST(Blas, HasOpenMpThreadsOnDebian) {
  SCOPED_TRACE(describe_blas());
  EXPECT_TRUE(blas_threads() == BlasThreads::kOpenMp || blas_threads() == BlasThreads::kUnknown);
}

// LibTorch sets the number when it first computes, and to half of the cores.
TEST(Blas, ThreadsStayAsManyAsWereAskedFor) {
  const int before = use_threads();
  EXPECT_EQ(use_threads(3), 3);
  EXPECT_EQ(at::mm(at::ones({300, 300}), at::ones({300, 300})).sum().item<float>(), 300.0f * 300 * 300);
  EXPECT_EQ(omp_get_max_threads(), 3);
  EXPECT_EQ(at::get_num_threads(), 3);
  EXPECT_EQ(use_threads(), std::getenv("OMP_NUM_THREADS") != nullptr ? 3 : before);
  use_threads(before);
}

TEST(Blas, GemmIsRowMajorWithEachTransposition) {
  // op(a) = [[1, 2, 3], [4, 5, 6]], op(b) = [[7, 8], [9, 10], [11, 12]], rows one element further apart than they are
  // long.
  const std::vector<double> a = {1, 2, 3, 0, 4, 5, 6, 0}, at = {1, 4, 0, 2, 5, 0, 3, 6, 0};
  const std::vector<double> b = {7, 8, 0, 9, 10, 0, 11, 12, 0}, bt = {7, 9, 11, 0, 8, 10, 12, 0};
  const std::vector<double> expected = {58 + 0.5, 64 + 0.5, -1, 139 + 0.5, 154 + 0.5, -1};
  for (const bool transpose_a : {false, true}) {
    for (const bool transpose_b : {false, true}) {
      std::vector<double> c = {1, 1, -1, 1, 1, -1};
      gemm(Transposed{transpose_a}, Transposed{transpose_b}, 2, 2, 3, (transpose_a ? at : a).data(),
           transpose_a ? 3 : 4, (transpose_b ? bt : b).data(), transpose_b ? 4 : 3, 0.5, c.data(), 3);
      EXPECT_EQ(c, expected) << transpose_a << transpose_b;
    }
  }
}

// In a parallel region, where products are not the BLAS's on every processor: rests of rows, columns and depth, pieces
// of wider arrays, and what lies between c's rows stays.
TEST(Blas, ProductsOfAnySizeAreTheirSums) {
  at::manual_seed(1);
  for (const auto& [m, n, k] : std::vector<std::array<std::int64_t, 3>>{
           {1, 16, 1}, {6, 64, 16}, {5, 48, 7}, {97, 112, 33}, {12, 17, 5}, {3, 32, 513}, {200, 80, 1030}, {1, 1, 1}}) {
    for (const int way : {0, 1, 2, 3, 4, 5, 6, 7}) {
      const bool transpose_a = (way & 1) != 0, transpose_b = (way & 2) != 0, add = (way & 4) != 0;
      const at::Tensor a = at::randn({transpose_a ? k : m, (transpose_a ? m : k) + 3});
      const at::Tensor b = at::randn({transpose_b ? n : k, (transpose_b ? k : n) + 5});
      const at::Tensor before = at::randn({m, n + 2});
      const at::Tensor left = a.narrow(1, 0, transpose_a ? m : k), right = b.narrow(1, 0, transpose_b ? k : n);
      at::Tensor expected = before.to(at::kDouble);
      at::Tensor sums = expected.narrow(1, 0, n);
      if (!add) sums.zero_();
      sums +=
          at::mm((transpose_a ? left.t() : left).to(at::kDouble), (transpose_b ? right.t() : right).to(at::kDouble));
      const auto multiply = [&, rows = m, columns = n, depth = k](at::Tensor c) {
        gemm(Transposed{transpose_a}, Transposed{transpose_b}, rows, columns, depth, a.data_ptr<float>(), a.size(1),
             b.data_ptr<float>(), b.size(1), add ? 1.0f : 0.0f, c.data_ptr<float>(), columns + 2);
      };
      at::Tensor found[2] = {before.clone(), before.clone()};
#pragma omp parallel for num_threads(2)
      for (int i = 0; i < 2; ++i) multiply(found[i]);
      EXPECT_TRUE(at::equal(found[0], found[1]));
      EXPECT_TRUE(at::allclose(found[0].to(at::kDouble), expected, 1e-5, 2e-6 * static_cast<double>(k) + 1e-5))
          << m << " " << n << " " << k << ", way " << way;
    }
  }
}

}  // namespace
}  // namespace junto
