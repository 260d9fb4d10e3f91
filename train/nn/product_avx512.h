// Products of the sizes that a training step has, on one thread, without the copies of both operands that a BLAS makes.
#pragma once

#include <cstdint>

namespace junto {

/// What product_avx512() takes: columns in whole vectors.
inline bool product_avx512_takes(std::int64_t m, std::int64_t n, std::int64_t k) {
  return m > 0 && n > 0 && n % 16 == 0 && k > 0;
}

/// gemm() of blas.h, of which `add` is a beta of 1, else it is 0. Only where the processor has AVX-512. A value of c is
/// summed in the order of k, in pieces of 512.
void product_avx512(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, const float* a,
                    std::int64_t lda, const float* b, std::int64_t ldb, bool add, float* c, std::int64_t ldc);

}  // namespace junto
