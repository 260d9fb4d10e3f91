// Tile lanes (see tile_lanes_portable.h) on NEON with dot product: 4 rows in one register, so a kernel passes four
// times over 16 interleaved rows. Included by *_neon.cc only.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/matmul_kernels.h"

namespace junto {

struct TileNeon {
  static constexpr int kRows = 4;
  static constexpr int kMaxTile = 8;
  static constexpr int kMaxFloatTile = 3;
  static constexpr int kSignedOffset = 0;  // dot products of signed bytes, which all ranges fit
  using W = uint8x16_t;
  using I = int32x4_t;
  using F = float32x4_t;

  static W load_words(const std::byte* p) { return vld1q_u8(reinterpret_cast<const std::uint8_t*>(p)); }
  static void prefetch(const std::byte* p) { __builtin_prefetch(p, 0, 2); }
  static W bits(std::uint8_t mask) { return vdupq_n_u8(mask); }
  static W band(W a, W b) { return vandq_u8(a, b); }
  static W bor(W a, W b) { return vorrq_u8(a, b); }
  // Operators, not vshlq: with a constant count they become one instruction.
  static W shift_right(W a, int n) {
    return vreinterpretq_u8_u16(vreinterpretq_u16_u8(a) >> static_cast<std::uint16_t>(n));
  }
  static W shift_left(W a, int n) {
    return vreinterpretq_u8_u16(vreinterpretq_u16_u8(a) << static_cast<std::uint16_t>(n));
  }
  static W lookup(const std::int8_t* table, W index) { return vreinterpretq_u8_s8(vqtbl1q_s8(vld1q_s8(table), index)); }
  static W from_signed(W a) { return a; }

  template <WeightRange kRange, int kWords>
  static I dot(const W* words, const std::int8_t* x, I start) {
    start = dot_four(words, vld1q_s8(x), start);
    if constexpr (kWords == 8) start = dot_four(words + 4, vld1q_s8(x + 16), start);
    return start;
  }
  static I shifted(std::int32_t value, int shift) {
    return vdupq_n_s32(static_cast<std::int32_t>(static_cast<std::uint32_t>(value) << shift));
  }

  static F zero() { return vdupq_n_f32(0); }
  static F set(float value) { return vdupq_n_f32(value); }
  static F load(const float* p) { return vld1q_f32(p); }
  static void store(float* p, F a) { vst1q_f32(p, a); }
  static F to_float(I a) { return vcvtq_f32_s32(a); }
  static F mul(F a, F b) { return vmulq_f32(a, b); }
  static F add(F a, F b) { return vaddq_f32(a, b); }
  static F fma(F a, F b, F c) { return vfmaq_f32(c, a, b); }

  static F load_half(const std::byte* p) { return vcvt_f32_f16(vreinterpret_f16_u16(load_u16x4(p))); }
  static F load_bf16(const std::byte* p) { return vreinterpretq_f32_u32(vshll_n_u16(load_u16x4(p), 16)); }
  static F load_e8m0_half(const std::byte* p) {
    const int32x4_t e = load_bytes(p);
    const int32x4_t normal = vshlq_n_s32(vsubq_s32(e, vdupq_n_s32(1)), 23);
    const int32x4_t small = vshlq_s32(vdupq_n_s32(0x00200000), e);
    return vreinterpretq_f32_s32(vbslq_s32(vcltq_s32(e, vdupq_n_s32(2)), small, normal));
  }
  static I load_bytes(const std::byte* p) {
    return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(vreinterpret_u8_u32(load_u32(p))))));
  }
  static I load_signed_bytes(const std::byte* p) {
    return vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u32(load_u32(p)))));
  }
  static I load_u16s(const std::byte* p) { return vreinterpretq_s32_u32(vmovl_u16(load_u16x4(p))); }
  static I field(I a, int shift, std::int32_t mask, int left) {
    return vandq_s32(a >> shift, vdupq_n_s32(mask)) << left;
  }
  static I add(I a, I b) { return vaddq_s32(a, b); }

 private:
  static I dot_four(const W* words, int8x16_t x, I sum) {
    sum = vdotq_laneq_s32(sum, vreinterpretq_s8_u8(words[0]), x, 0);
    sum = vdotq_laneq_s32(sum, vreinterpretq_s8_u8(words[1]), x, 1);
    sum = vdotq_laneq_s32(sum, vreinterpretq_s8_u8(words[2]), x, 2);
    return vdotq_laneq_s32(sum, vreinterpretq_s8_u8(words[3]), x, 3);
  }
  static uint16x4_t load_u16x4(const std::byte* p) { return vld1_u16(reinterpret_cast<const std::uint16_t*>(p)); }
  static uint32x2_t load_u32(const std::byte* p) {
    std::uint32_t value;
    std::memcpy(&value, p, sizeof value);
    return vdup_n_u32(value);
  }
};

}  // namespace junto
