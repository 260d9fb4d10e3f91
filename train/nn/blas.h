// The BLAS that LibTorch multiplies with, called directly: products of pieces of larger arrays, inside parallel
// regions.
#pragma once

#include <cstdint>
#include <string>

namespace junto {

enum class Transposed : bool { kNo = false, kYes = true };

/// c [m, n] = beta * c + op(a) op(b), all row-major. op(a) is [m, k], op(b) [k, n]; `lda`, `ldb` and `ldc` are the
/// distances of rows as stored. With beta 0 the old values of c are not read. Inside a parallel region one thread
/// computes it, so its bits do not depend on the number of threads; there, where the processor has AVX-512 and n is a
/// multiple of 16, float32 is product_avx512()'s and not the BLAS's.
void gemm(Transposed transpose_a, Transposed transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
          const float* a, std::int64_t lda, const float* b, std::int64_t ldb, float beta, float* c, std::int64_t ldc);
void gemm(Transposed transpose_a, Transposed transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
          const double* a, std::int64_t lda, const double* b, std::int64_t ldb, double beta, double* c,
          std::int64_t ldc);

/// How the BLAS shares out its work. OpenBLAS with threads of its own beside OpenMP's makes training 3 to 4 times
/// slower: two pools spin on the same cores.
enum class BlasThreads : std::uint8_t { kUnknown, kNone, kOwn, kOpenMp };
BlasThreads blas_threads();

/// "OpenBLAS 0.3.21 ... Zen, OpenMP threads": for logs. Ends with a warning where blas_threads() is kOwn.
std::string describe_blas();

/// Threads of LibTorch, OpenMP and the BLAS from now on. 0: OMP_NUM_THREADS where it is set, else the cores that the
/// process may use: LibTorch 1.13 by itself takes half of them, and tells OpenMP so. Returns their number.
int use_threads(int count = 0);

/// Lets the allocator keep what is freed: tensors of a step are as large as those of the step before, and fresh pages
/// cost 5 to 9 % of it. To be called first in main(); costs resident memory.
void keep_freed_memory();

}  // namespace junto
