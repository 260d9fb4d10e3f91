#include <immintrin.h>

#include "bench/peaks.h"
#include "bench/peaks_chains.h"

namespace junto {
namespace {

void fma_f32(std::int64_t passes) {
  const __m256 b = _mm256_set1_ps(0.999f), c = _mm256_set1_ps(1e-5f);
  run_chains<12>(passes, _mm256_set1_ps(1e-3f), [&](__m256& a) {
    a = _mm256_fmadd_ps(a, b, c);
    asm volatile("" : "+x"(a));
  });
}

void dot_int8(std::int64_t passes) {
  const __m256i b = _mm256_set1_epi8(3);
  run_chains<12>(passes, b, [&](__m256i& a) { asm volatile("vpmaddubsw %1, %1, %0" : "=x"(a) : "x"(b)); });
}

// 32 columns of 8 rows of 4-bit weights: eight products summed in 16 bits, widened, scaled and added.
void mix_q4(std::int64_t passes) {
  const __m256i b = _mm256_set1_epi8(3), ones = _mm256_set1_epi16(1);
  const __m256 scale = _mm256_set1_ps(1e-6f);
  run_chains<4>(passes, _mm256_setzero_ps(), [&](__m256& a) {
    __m256i sum, product;
    asm volatile("vpmaddubsw %1, %1, %0" : "=x"(sum) : "x"(b));
#pragma GCC unroll 8
    for (int i = 1; i < 8; ++i) {
      asm volatile("vpmaddubsw %1, %1, %0" : "=x"(product) : "x"(b));
      sum = _mm256_add_epi16(sum, product);
    }
    sum = _mm256_madd_epi16(sum, ones);
    __m256 factor;
    asm volatile("vmulps %1, %1, %0" : "=x"(factor) : "x"(scale));
    a = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), factor, a);
    asm volatile("" : "+x"(a));
  });
}

}  // namespace

extern const PeakLoop kPeaksAvx2[3];
constinit const PeakLoop kPeaksAvx2[3] = {
    {Isa::kAvx2, "fma_f32", 12 * 8 * 2, fma_f32},
    {Isa::kAvx2, "dot_int8", 12 * 32 * 2, dot_int8},
    {Isa::kAvx2, "mix_q4", 4 * 8 * 32 * 2, mix_q4},
};

}  // namespace junto
