#include <immintrin.h>

#include "bench/peaks.h"
#include "bench/peaks_chains.h"

namespace junto {
namespace {

void fma_f32(std::int64_t passes) {
  const __m512 b = _mm512_set1_ps(0.999f), c = _mm512_set1_ps(1e-5f);
  run_chains<12>(passes, _mm512_set1_ps(1e-3f), [&](__m512& a) {
    a = _mm512_fmadd_ps(a, b, c);
    asm volatile("" : "+v"(a));
  });
}

void dot_int8(std::int64_t passes) {
  const __m512i b = _mm512_set1_epi8(3);
  run_chains<12>(passes, b, [&](__m512i& a) {
    a = _mm512_dpbusd_epi32(a, b, b);
    asm volatile("" : "+v"(a));
  });
}

// 32 columns of 16 rows of 4-bit weights: eight products summed, scaled and added.
void mix_q4(std::int64_t passes) {
  const __m512i b = _mm512_set1_epi8(3);
  const __m512 scale = _mm512_set1_ps(1e-6f);
  run_chains<8>(passes, _mm512_setzero_ps(), [&](__m512& a) {
    __m512i sum = b;
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      sum = _mm512_dpbusd_epi32(sum, b, b);
      asm volatile("" : "+v"(sum));
    }
    __m512 factor;
    asm volatile("vmulps %1, %1, %0" : "=v"(factor) : "v"(scale));
    a = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), factor, a);
    asm volatile("" : "+v"(a));
  });
}

}  // namespace

extern const PeakLoop kPeaksAvx512[3];
constinit const PeakLoop kPeaksAvx512[3] = {
    {Isa::kAvx512, "fma_f32", 12 * 16 * 2, fma_f32},
    {Isa::kAvx512, "dot_int8", 12 * 64 * 2, dot_int8},
    {Isa::kAvx512, "mix_q4", 8 * 16 * 32 * 2, mix_q4},
};

}  // namespace junto
