#include "train/nn/blas.h"

#include <ATen/Parallel.h>
#include <malloc.h>
#include <omp.h>

#include <cstdlib>

#include "base/thread_pool.h"
#include "kernels/choose.h"
#include "train/nn/product_avx512.h"

extern "C" {
void sgemm_(const char* ta, const char* tb, const int* m, const int* n, const int* k, const float* alpha,
            const float* a, const int* lda, const float* b, const int* ldb, const float* beta, float* c,
            const int* ldc);
void dgemm_(const char* ta, const char* tb, const int* m, const int* n, const int* k, const double* alpha,
            const double* a, const int* lda, const double* b, const int* ldb, const double* beta, double* c,
            const int* ldc);
// OpenBLAS only.
int openblas_get_parallel(void) __attribute__((weak));
char* openblas_get_config(void) __attribute__((weak));
char* openblas_get_corename(void) __attribute__((weak));
}

namespace junto {
namespace {

// Row-major c = a b is column-major c' = b' a'.
template <class T, class Function>
void row_major(Function function, Transposed transpose_a, Transposed transpose_b, std::int64_t m, std::int64_t n,
               std::int64_t k, const T* a, std::int64_t lda, const T* b, std::int64_t ldb, T beta, T* c,
               std::int64_t ldc) {
  const char ta = transpose_a == Transposed::kYes ? 'T' : 'N', tb = transpose_b == Transposed::kYes ? 'T' : 'N';
  const int rows = static_cast<int>(m), cols = static_cast<int>(n), depth = static_cast<int>(k);
  const int stride_a = static_cast<int>(lda), stride_b = static_cast<int>(ldb), stride_c = static_cast<int>(ldc);
  const T alpha = 1;
  function(&tb, &ta, &cols, &rows, &depth, &alpha, b, &stride_b, a, &stride_a, &beta, c, &stride_c);
}

}  // namespace

void gemm(Transposed transpose_a, Transposed transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
          const float* a, std::int64_t lda, const float* b, std::int64_t ldb, float beta, float* c, std::int64_t ldc) {
#if defined(__x86_64__)
  // Outside a parallel region the BLAS has all threads. A region of one thread is one too: bits are the same.
  static const bool avx512 = chosen_isa() == Isa::kAvx512;
  if (avx512 && omp_get_level() > 0 && (beta == 0.0f || beta == 1.0f) && product_avx512_takes(m, n, k)) {
    return product_avx512(transpose_a == Transposed::kYes, transpose_b == Transposed::kYes, m, n, k, a, lda, b, ldb,
                          beta == 1.0f, c, ldc);
  }
#endif
  row_major<float>(sgemm_, transpose_a, transpose_b, m, n, k, a, lda, b, ldb, beta, c, ldc);
}

void gemm(Transposed transpose_a, Transposed transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
          const double* a, std::int64_t lda, const double* b, std::int64_t ldb, double beta, double* c,
          std::int64_t ldc) {
  row_major<double>(dgemm_, transpose_a, transpose_b, m, n, k, a, lda, b, ldb, beta, c, ldc);
}

BlasThreads blas_threads() {
  if (openblas_get_parallel == nullptr) return BlasThreads::kUnknown;
  switch (openblas_get_parallel()) {
    case 0:
      return BlasThreads::kNone;
    case 1:
      return BlasThreads::kOwn;
    default:
      return BlasThreads::kOpenMp;
  }
}

std::string describe_blas() {
  if (openblas_get_config == nullptr || openblas_get_corename == nullptr) return "a BLAS that is not OpenBLAS";
  const std::string config = openblas_get_config();
  const std::string name = config.substr(0, config.find(' ', config.find(' ') + 1));
  switch (blas_threads()) {
    case BlasThreads::kOpenMp:
      return name + " for " + openblas_get_corename() + ", OpenMP threads";
    case BlasThreads::kOwn:
      return name + " for " + openblas_get_corename() +
             ", threads of its own: training will be 3 to 4 times slower, install libopenblas-openmp-dev";
    default:
      return name + " for " + openblas_get_corename() + ", one thread";
  }
}

int use_threads(int count) {
  if (count <= 0) count = std::getenv("OMP_NUM_THREADS") != nullptr ? omp_get_max_threads() : available_cores();
  at::set_num_threads(count);
  omp_set_num_threads(count);
  return count;
}

void keep_freed_memory() {
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, -1);
}

}  // namespace junto
