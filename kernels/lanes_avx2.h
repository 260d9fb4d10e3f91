// Lanes (see lanes_portable.h) on AVX2 with FMA and F16C: two registers of 8. Included by *_avx2.cc files only.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "kernels/reductions_x86.h"

namespace junto {

struct LanesAvx2 : ReductionsX86<LanesAvx2> {
  static constexpr int kCount = 16;
  static constexpr int kQueryTile = 2;
  struct F {
    __m256 low, high;
  };

  static F zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static F set(float value) { return {_mm256_set1_ps(value), _mm256_set1_ps(value)}; }
  static F load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static F load_part(const float* p, int count) {
    return {_mm256_maskload_ps(p, mask(count)),
            count > 8 ? _mm256_maskload_ps(p + 8, mask(count - 8)) : _mm256_setzero_ps()};
  }
  static F load_half(const std::uint16_t* p) { return {widen(p), widen(p + 8)}; }
  static F load_half_part(const std::uint16_t* p, int count) {
    std::uint16_t part[kCount] = {};
    std::memcpy(part, p, static_cast<std::size_t>(count) * sizeof(std::uint16_t));
    return load_half(part);
  }
  static F load_int8(const std::int8_t* p) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)),
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8)))};
  }
  static void store(float* p, F a) {
    _mm256_storeu_ps(p, a.low);
    _mm256_storeu_ps(p + 8, a.high);
  }
  static void store_part(float* p, F a, int count) {
    _mm256_maskstore_ps(p, mask(count), a.low);
    if (count > 8) _mm256_maskstore_ps(p + 8, mask(count - 8), a.high);
  }
  static void store_half_part(std::uint16_t* p, F a, int count) {
    std::uint16_t part[kCount];
    constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    _mm_storeu_si128(reinterpret_cast<__m128i*>(part), _mm256_cvtps_ph(a.low, kNearest));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(part + 8), _mm256_cvtps_ph(a.high, kNearest));
    std::memcpy(p, part, static_cast<std::size_t>(count) * sizeof(std::uint16_t));
  }
  static void store_int8(std::int8_t* p, F a) {
    // Packing works within 128-bit halves: words come out as l0 h0 l1 h1, and are put in order before the last step.
    const __m256i words =
        _mm256_permute4x64_epi64(_mm256_packs_epi32(_mm256_cvtps_epi32(a.low), _mm256_cvtps_epi32(a.high)), 0xD8);
    const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
  }

  static F add(F a, F b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
  static F sub(F a, F b) { return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)}; }
  static F mul(F a, F b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
  static F div(F a, F b) { return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)}; }
  static F fma(F a, F b, F c) {
    return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
  }
  static F fnma(F a, F b, F c) {
    return {_mm256_fnmadd_ps(a.low, b.low, c.low), _mm256_fnmadd_ps(a.high, b.high, c.high)};
  }
  static F min(F a, F b) { return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)}; }
  static F max(F a, F b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }
  static F abs(F a) { return {_mm256_andnot_ps(sign(), a.low), _mm256_andnot_ps(sign(), a.high)}; }
  static F copy_sign(F a, F b) {
    return {_mm256_or_ps(_mm256_andnot_ps(sign(), a.low), _mm256_and_ps(sign(), b.low)),
            _mm256_or_ps(_mm256_andnot_ps(sign(), a.high), _mm256_and_ps(sign(), b.high))};
  }
  static F if_less(F a, F b, F x, F y) {
    return {_mm256_blendv_ps(y.low, x.low, _mm256_cmp_ps(a.low, b.low, _CMP_LT_OQ)),
            _mm256_blendv_ps(y.high, x.high, _mm256_cmp_ps(a.high, b.high, _CMP_LT_OQ))};
  }
  static F round(F a) {
    constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    return {_mm256_round_ps(a.low, kNearest), _mm256_round_ps(a.high, kNearest)};
  }
  static F scale_by_power(F a, F n) { return {scale8(a.low, n.low), scale8(a.high, n.high)}; }
  static float sum(F a) {
    const __m256 eight = _mm256_add_ps(a.low, a.high);
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
  static float largest(F a) {
    const __m256 eight = _mm256_max_ps(a.low, a.high);
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
  }
  static float largest_magnitude(F a, F b) {
    const auto larger = [](__m256 x, __m256 y) {
      return _mm256_max_epu32(_mm256_castps_si256(x), _mm256_castps_si256(y));
    };
    const F sizes[2] = {abs(a), abs(b)};
    return largest_bits(_mm256_max_epu32(larger(sizes[0].low, sizes[0].high), larger(sizes[1].low, sizes[1].high)));
  }

 private:
  static __m256 sign() { return _mm256_set1_ps(-0.0f); }
  static __m256 widen(const std::uint16_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  /// The first `count` of 8 lanes; any count.
  static __m256i mask(int count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static __m256 power(__m256i exponent) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(exponent, _mm256_set1_epi32(127)), 23));
  }
  static __m256 scale8(__m256 a, __m256 n) {
    const __m256i exponent = _mm256_cvtps_epi32(n);
    const __m256i half = _mm256_srai_epi32(exponent, 1);
    return _mm256_mul_ps(_mm256_mul_ps(a, power(half)), power(_mm256_sub_epi32(exponent, half)));
  }
};

}  // namespace junto
