// Tile lanes (see tile_lanes_portable.h) on AVX-512 with VNNI: 16 rows in one register. Included by *_avx512.cc only.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/matmul_kernels.h"

namespace junto {

struct TileAvx512 {
  static constexpr int kRows = 16;
  static constexpr int kMaxTile = 8;
  static constexpr int kMaxFloatTile = 8;
  static constexpr int kSignedOffset = 128;                 // dpbusd takes unsigned weights
  using Columns = std::int32_t __attribute__((may_alias));  // four int8 of x
  using W = __m512i;
  using I = __m512i;
  using F = __m512;

  static W load_words(const std::byte* p) { return _mm512_loadu_si512(p); }
  /// Into the L2 cache: into L1 costs up to a quarter (docs/performance.md).
  static void prefetch(const std::byte* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1); }
  static W bits(std::uint8_t mask) { return _mm512_set1_epi8(static_cast<char>(mask)); }
  static W band(W a, W b) { return _mm512_and_si512(a, b); }
  static W bor(W a, W b) { return _mm512_or_si512(a, b); }
  static W shift_right(W a, int n) { return _mm512_srl_epi16(a, _mm_cvtsi32_si128(n)); }
  static W shift_left(W a, int n) { return _mm512_sll_epi16(a, _mm_cvtsi32_si128(n)); }
  static W lookup(const std::int8_t* table, W index) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(bytes), index);
  }
  static W from_signed(W a) { return _mm512_xor_si512(a, _mm512_set1_epi8(static_cast<char>(0x80))); }

  template <WeightRange kRange, int kWords>
  static I dot(const W* words, const std::int8_t* x, I start) {
    const auto* columns = reinterpret_cast<const Columns*>(x);
    for (int word = 0; word < kWords; ++word) {
#if defined(__clang__)
      start = _mm512_dpbusd_epi32(start, words[word], _mm512_set1_epi32(columns[word]));
#else
      // GCC 12 takes the broadcast out of the instruction, which costs a load and a register.
      asm("vpdpbusd %1%{1to16%}, %2, %0" : "+v"(start) : "m"(columns[word]), "v"(words[word]));
#endif
    }
    return start;
  }
  static I shifted(std::int32_t value, int shift) {
    return _mm512_sll_epi32(_mm512_set1_epi32(value), _mm_cvtsi32_si128(shift));
  }

  static F zero() {
    return _mm512_setzero_ps();
  }
  static F set(float value) {
    return _mm512_set1_ps(value);
  }
  static F load(const float* p) {
    return _mm512_loadu_ps(p);
  }
  static void store(float* p, F a) {
    _mm512_storeu_ps(p, a);
  }
  static F to_float(I a) {
    return _mm512_cvtepi32_ps(a);
  }
  static F mul(F a, F b) {
    return _mm512_mul_ps(a, b);
  }
  static F add(F a, F b) {
    return _mm512_add_ps(a, b);
  }
  static F fma(F a, F b, F c) {
    return _mm512_fmadd_ps(a, b, c);
  }

  static F load_half(const std::byte* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static F load_bf16(const std::byte* p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(load_u16s(p), 16));
  }
  static F load_e8m0_half(const std::byte* p) {
    const __m512i e = load_bytes(p), two = _mm512_set1_epi32(2);
    const __m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
    const __m512i small = _mm512_sllv_epi32(_mm512_set1_epi32(0x00200000), e);
    return _mm512_castsi512_ps(_mm512_mask_blend_epi32(_mm512_cmplt_epi32_mask(e, two), normal, small));
  }
  static I load_bytes(const std::byte* p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static I load_signed_bytes(const std::byte* p) {
    return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static I load_u16s(const std::byte* p) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static I field(I a, int shift, std::int32_t mask, int left) {
    const __m512i right = _mm512_srl_epi32(a, _mm_cvtsi32_si128(shift));
    return _mm512_sll_epi32(_mm512_and_si512(right, _mm512_set1_epi32(mask)), _mm_cvtsi32_si128(left));
  }
  static I add(I a, I b) {
    return _mm512_add_epi32(a, b);
  }
};

}  // namespace junto
