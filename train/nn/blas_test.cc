#include "train/nn/blas.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <omp.h>

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

}  // namespace
}  // namespace junto
