// What lanes of AVX2 and AVX-512 (lanes_portable.h) reduce alike. A template, so that each set of instructions has code
// of its own: of plain functions the linker would keep one. Included by the files of one instruction set only.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace junto {

template <class Lanes>
struct ReductionsX86 {
  /// The largest of eight, as unsigned integers.
  static float largest_bits(__m256i eight) {
    const __m128i four = _mm_max_epu32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    const __m128i two = _mm_max_epu32(four, _mm_unpackhi_epi64(four, four));
    return _mm_cvtss_f32(_mm_castsi128_ps(_mm_max_epu32(two, _mm_srli_epi64(two, 32))));
  }
  static int sum_int8(const std::int8_t* p) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    const __m128i sums = _mm_sad_epu8(_mm_xor_si128(bytes, _mm_set1_epi8(-128)), _mm_setzero_si128());
    return _mm_cvtsi128_si32(sums) + _mm_extract_epi16(sums, 4) - 16 * 128;
  }
};

}  // namespace junto
