// Lanes (see lanes_portable.h) on NEON: four registers of 4. Included by *_neon.cc files only.
#pragma once

#include <arm_neon.h>

#include <cstdint>
#include <cstring>

namespace junto {

struct LanesNeon {
  static constexpr int kCount = 16;
  static constexpr int kQueryTile = 2;
  struct F {
    float32x4_t part[4];
  };

  template <class Op>
  static F each(Op op) {
    return {{op(0), op(1), op(2), op(3)}};
  }
  static F zero() { return set(0); }
  static F set(float value) {
    return each([&](int) { return vdupq_n_f32(value); });
  }
  static F load(const float* p) {
    return each([&](int i) { return vld1q_f32(p + 4 * i); });
  }
  static F load_part(const float* p, int count) {
    float padded[kCount] = {};
    std::memcpy(padded, p, static_cast<std::size_t>(count) * sizeof(float));
    return load(padded);
  }
  static F load_half(const std::uint16_t* p) {
    return each([&](int i) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i))); });
  }
  static F load_half_part(const std::uint16_t* p, int count) {
    std::uint16_t padded[kCount] = {};
    std::memcpy(padded, p, static_cast<std::size_t>(count) * sizeof(std::uint16_t));
    return load_half(padded);
  }
  static F load_int8(const std::int8_t* p) {
    const int8x16_t bytes = vld1q_s8(p);
    const int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_high_s8(bytes);
    return {{vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))), vcvtq_f32_s32(vmovl_high_s16(low)),
             vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))), vcvtq_f32_s32(vmovl_high_s16(high))}};
  }
  static void store(float* p, F a) {
    for (int i = 0; i < 4; ++i) vst1q_f32(p + 4 * i, a.part[i]);
  }
  static void store_part(float* p, F a, int count) {
    float whole[kCount];
    store(whole, a);
    std::memcpy(p, whole, static_cast<std::size_t>(count) * sizeof(float));
  }
  static void store_half_part(std::uint16_t* p, F a, int count) {
    std::uint16_t whole[kCount];
    for (int i = 0; i < 4; ++i) vst1_u16(whole + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(a.part[i])));
    std::memcpy(p, whole, static_cast<std::size_t>(count) * sizeof(std::uint16_t));
  }
  static void store_int8(std::int8_t* p, F a) {
    const auto words = [&](int i) {
      return vcombine_s16(vqmovn_s32(vcvtnq_s32_f32(a.part[i])), vqmovn_s32(vcvtnq_s32_f32(a.part[i + 1])));
    };
    vst1q_s8(p, vcombine_s8(vqmovn_s16(words(0)), vqmovn_s16(words(2))));
  }

  static F add(F a, F b) {
    return each([&](int i) { return vaddq_f32(a.part[i], b.part[i]); });
  }
  static F sub(F a, F b) {
    return each([&](int i) { return vsubq_f32(a.part[i], b.part[i]); });
  }
  static F mul(F a, F b) {
    return each([&](int i) { return vmulq_f32(a.part[i], b.part[i]); });
  }
  static F div(F a, F b) {
    return each([&](int i) { return vdivq_f32(a.part[i], b.part[i]); });
  }
  static F fma(F a, F b, F c) {
    return each([&](int i) { return vfmaq_f32(c.part[i], a.part[i], b.part[i]); });
  }
  static F fnma(F a, F b, F c) {
    return each([&](int i) { return vfmsq_f32(c.part[i], a.part[i], b.part[i]); });
  }
  // Not vminq and vmaxq, which give NaN where either is.
  static F min(F a, F b) { return if_less(a, b, a, b); }
  static F max(F a, F b) { return if_less(b, a, a, b); }
  static F abs(F a) {
    return each([&](int i) { return vabsq_f32(a.part[i]); });
  }
  static F copy_sign(F a, F b) {
    return each([&](int i) { return vbslq_f32(vdupq_n_u32(0x80000000u), b.part[i], a.part[i]); });
  }
  static F if_less(F a, F b, F x, F y) {
    return each([&](int i) { return vbslq_f32(vcltq_f32(a.part[i], b.part[i]), x.part[i], y.part[i]); });
  }
  static F round(F a) {
    return each([&](int i) { return vrndnq_f32(a.part[i]); });
  }
  static F scale_by_power(F a, F n) {
    return each([&](int i) {
      const int32x4_t exponent = vcvtnq_s32_f32(n.part[i]), half = vshrq_n_s32(exponent, 1);
      return vmulq_f32(vmulq_f32(a.part[i], power(half)), power(vsubq_s32(exponent, half)));
    });
  }
  static float sum(F a) {
    const float32x4_t four = vaddq_f32(vaddq_f32(a.part[0], a.part[2]), vaddq_f32(a.part[1], a.part[3]));
    const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
  }
  static float largest(F a) {
    const float32x4_t four = larger(larger(a.part[0], a.part[2]), larger(a.part[1], a.part[3]));
    const float low = larger(vgetq_lane_f32(four, 0), vgetq_lane_f32(four, 2));
    return larger(low, larger(vgetq_lane_f32(four, 1), vgetq_lane_f32(four, 3)));
  }
  static float largest_magnitude(F a, F b) {
    uint32x4_t most = vdupq_n_u32(0);
    const F sizes[] = {abs(a), abs(b)};
    for (const F& x : sizes) {
      for (const float32x4_t part : x.part) most = vmaxq_u32(most, vreinterpretq_u32_f32(part));
    }
    return vgetq_lane_f32(vreinterpretq_f32_u32(vdupq_n_u32(vmaxvq_u32(most))), 0);
  }
  static int sum_int8(const std::int8_t* p) { return vaddlvq_s8(vld1q_s8(p)); }

 private:
  static float32x4_t larger(float32x4_t a, float32x4_t b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
  static float larger(float a, float b) { return a > b ? a : b; }
  static float32x4_t power(int32x4_t exponent) {
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(exponent, vdupq_n_s32(127)), 23));
  }
};

}  // namespace junto
