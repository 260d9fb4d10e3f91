// Tile lanes (see tile_lanes_portable.h) on AVX2: 8 rows in one register, so a kernel passes twice over 16 interleaved
// rows. Included by *_avx2.cc only.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/matmul_kernels.h"

namespace junto {

struct TileAvx2 {
  static constexpr int kRows = 8;
  static constexpr int kMaxTile = 8;
  static constexpr int kMaxFloatTile = 3;
  static constexpr int kSignedOffset = 0;
  using Columns = std::int32_t __attribute__((may_alias));  // four int8 of x
  using W = __m256i;
  struct I {
    __m256i value;
  };
  using F = __m256;

  static W load_words(const std::byte* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  /// Into the L2 cache: into L1 costs up to a quarter (docs/performance.md).
  static void prefetch(const std::byte* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1); }
  static W bits(std::uint8_t mask) { return _mm256_set1_epi8(static_cast<char>(mask)); }
  static W band(W a, W b) { return _mm256_and_si256(a, b); }
  static W bor(W a, W b) { return _mm256_or_si256(a, b); }
  static W shift_right(W a, int n) { return _mm256_srl_epi16(a, _mm_cvtsi32_si128(n)); }
  static W shift_left(W a, int n) { return _mm256_sll_epi16(a, _mm_cvtsi32_si128(n)); }
  static W lookup(const std::int8_t* table, W index) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(bytes), index);
  }
  static W from_signed(W a) { return a; }

  // Products of pairs that may be summed in 16 bits before they are widened: weight * 127 * 2 * count <= 32767.
  template <WeightRange kRange>
  static constexpr int narrow_sums() {
    switch (kRange) {
      case WeightRange::kTwoBits:    // 3 * 254 * 8
      case WeightRange::kThreeBits:  // 7 * 254 * 8
      case WeightRange::kFourBits:
        return 8;  // 15 * 254 * 8 = 30480
      case WeightRange::kFiveBits:
        return 4;  // 31 * 254 * 4 = 31496
      case WeightRange::kSixBits:
        return 2;  // 63 * 254 * 2 = 32004
      case WeightRange::kSigned:
        return 1;  // 128 * 254 = 32512
    }
    return 1;
  }

  template <WeightRange kRange, int kWords>
  static I dot(const W* words, const std::int8_t* x, I start) {
    constexpr int kNarrow = narrow_sums<kRange>() < kWords ? narrow_sums<kRange>() : kWords;
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i total = start.value;
    for (int word = 0; word < kWords; word += kNarrow) {
      __m256i pairs = products<kRange>(words[word], x + 4 * word);
      for (int i = 1; i < kNarrow; ++i) {
        pairs = _mm256_add_epi16(pairs, products<kRange>(words[word + i], x + 4 * (word + i)));
      }
      total = _mm256_add_epi32(total, _mm256_madd_epi16(pairs, ones));
    }
    return {total};
  }
  static I shifted(std::int32_t value, int shift) {
    return {_mm256_sll_epi32(_mm256_set1_epi32(value), _mm_cvtsi32_si128(shift))};
  }

  static F zero() { return _mm256_setzero_ps(); }
  static F set(float value) { return _mm256_set1_ps(value); }
  static F load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, F a) { _mm256_storeu_ps(p, a); }
  static F to_float(I a) { return _mm256_cvtepi32_ps(a.value); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }

  static F load_half(const std::byte* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static F load_bf16(const std::byte* p) { return _mm256_castsi256_ps(_mm256_slli_epi32(load_u16s(p).value, 16)); }
  static F load_e8m0_half(const std::byte* p) {
    const __m256i e = load_bytes(p).value;
    const __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
    const __m256i small = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
    const __m256i is_small = _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e);
    return _mm256_castsi256_ps(_mm256_blendv_epi8(normal, small, is_small));
  }
  static I load_bytes(const std::byte* p) {
    return {_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)))};
  }
  static I load_signed_bytes(const std::byte* p) {
    return {_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)))};
  }
  static I load_u16s(const std::byte* p) {
    return {_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
  }
  static I field(I a, int shift, std::int32_t mask, int left) {
    const __m256i right = _mm256_srl_epi32(a.value, _mm_cvtsi32_si128(shift));
    return {_mm256_sll_epi32(_mm256_and_si256(right, _mm256_set1_epi32(mask)), _mm_cvtsi32_si128(left))};
  }
  static I add(I a, I b) { return {_mm256_add_epi32(a.value, b.value)}; }

  /// sums[half][t] += dot() of both halves' words with kCount rows of x. Words come in the outer loop: four columns of
  /// x meet both halves while they stand in a register.
  template <WeightRange kRange, int kWords, int kCount>
  static void dot_tile(const W* first, const W* second, const std::int8_t* const (&x)[kCount], I (&sums)[2][kCount]) {
    constexpr int kNarrow = narrow_sums<kRange>() < kWords ? narrow_sums<kRange>() : kWords;
    const __m256i ones = _mm256_set1_epi16(1);
#pragma GCC unroll 8
    for (int word = 0; word < kWords; word += kNarrow) {
      __m256i pairs[2][kCount];
#pragma GCC unroll 8
      for (int i = 0; i < kNarrow; ++i) {
        const W words[2] = {first[word + i], second[word + i]};
#pragma GCC unroll 4
        for (int t = 0; t < kCount; ++t) {
#pragma GCC unroll 2
          for (int half = 0; half < 2; ++half) {
            const __m256i product = products<kRange>(words[half], x[t] + 4 * (word + i));
            pairs[half][t] = i == 0 ? product : _mm256_add_epi16(pairs[half][t], product);
            keep_order(pairs[half][t]);
          }
        }
      }
#pragma GCC unroll 4
      for (int t = 0; t < kCount; ++t) {
#pragma GCC unroll 2
        for (int half = 0; half < 2; ++half) {
          I& sum = sums[half][t];
          sum.value = _mm256_add_epi32(sum.value, _mm256_madd_epi16(pairs[half][t], ones));
        }
      }
    }
  }

 private:
  // GCC would rather make all products first and add them up as a tree, for which there are no registers.
  static void keep_order(__m256i& sum) {
    asm("" : "+x"(sum));
  }

  template <WeightRange kRange>
  static __m256i products(W weights, const std::int8_t* x) {
    const __m256i columns = _mm256_set1_epi32(*reinterpret_cast<const Columns*>(x));
    if constexpr (kRange == WeightRange::kSigned) {
      // The first operand is unsigned: |w| * (x with the sign of w).
      return _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(columns, weights));
    }
    return _mm256_maddubs_epi16(weights, columns);
  }
};

}  // namespace junto
