// Lanes: the few vector operations that kernels are written in, 16 floats side by side. One page for each instruction
// set (lanes_avx2.h, lanes_avx512.h) has the same operations, and a kernel written over them gives the same bits on all
// of them: lane l of a sum holds the terms k = l mod 16, and products are fused into sums.
//
// This page is plain C++. With Fused::kExact it is the exact twin of the others, for tests; in production a CPU without
// FMA would crawl through a fused product, so Fused::kTwoRoundings rounds twice.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "tensor/half.h"

namespace junto {

enum class Fused { kTwoRoundings, kExact };

template <Fused kFused>
struct LanesPortable {
  static constexpr int kCount = 16;
  static constexpr int kQueryTile = 2;  // queries whose sums over 32 keys fit into registers
  struct F {
    float lane[kCount];
  };

  template <class Op>
  static F each(Op op) {
    F out;
    for (int l = 0; l < kCount; ++l) out.lane[l] = op(l);
    return out;
  }
  static float fused(float a, float b, float c) {
    if constexpr (kFused == Fused::kExact) return std::fma(a, b, c);
    return a * b + c;
  }

  static F zero() { return set(0); }
  static F set(float value) {
    return each([&](int) { return value; });
  }
  static F load(const float* p) {
    return each([&](int l) { return p[l]; });
  }
  /// The first `count` lanes; the others are 0.
  static F load_part(const float* p, int count) {
    return each([&](int l) { return l < count ? p[l] : 0.0f; });
  }
  static F load_half(const std::uint16_t* p) {
    return each([&](int l) { return half_to_float(p[l]); });
  }
  static F load_half_part(const std::uint16_t* p, int count) {
    return each([&](int l) { return l < count ? half_to_float(p[l]) : 0.0f; });
  }
  static F load_int8(const std::int8_t* p) {
    return each([&](int l) { return static_cast<float>(p[l]); });
  }
  static void store(float* p, F a) { store_part(p, a, kCount); }
  static void store_part(float* p, F a, int count) {
    for (int l = 0; l < count; ++l) p[l] = a.lane[l];
  }
  static void store_half_part(std::uint16_t* p, F a, int count) {
    for (int l = 0; l < count; ++l) p[l] = float_to_half(a.lane[l]);
  }

  /// Integers in -128..127.
  static void store_int8(std::int8_t* p, F a) {
    for (int l = 0; l < kCount; ++l) p[l] = static_cast<std::int8_t>(a.lane[l]);
  }

  static F add(F a, F b) {
    return each([&](int l) { return a.lane[l] + b.lane[l]; });
  }
  static F sub(F a, F b) {
    return each([&](int l) { return a.lane[l] - b.lane[l]; });
  }
  static F mul(F a, F b) {
    return each([&](int l) { return a.lane[l] * b.lane[l]; });
  }
  static F div(F a, F b) {
    return each([&](int l) { return a.lane[l] / b.lane[l]; });
  }
  /// a * b + c.
  static F fma(F a, F b, F c) {
    return each([&](int l) { return fused(a.lane[l], b.lane[l], c.lane[l]); });
  }
  /// c - a * b.
  static F fnma(F a, F b, F c) {
    return each([&](int l) { return fused(-a.lane[l], b.lane[l], c.lane[l]); });
  }
  /// b where either is NaN, as x86 has it.
  static F min(F a, F b) {
    return each([&](int l) { return a.lane[l] < b.lane[l] ? a.lane[l] : b.lane[l]; });
  }
  static F max(F a, F b) {
    return each([&](int l) { return a.lane[l] > b.lane[l] ? a.lane[l] : b.lane[l]; });
  }
  static F abs(F a) {
    return each([&](int l) { return std::fabs(a.lane[l]); });
  }
  /// |a| with the sign of b.
  static F copy_sign(F a, F b) {
    return each([&](int l) { return std::copysign(a.lane[l], b.lane[l]); });
  }
  /// a < b ? x : y.
  static F if_less(F a, F b, F x, F y) {
    return each([&](int l) { return a.lane[l] < b.lane[l] ? x.lane[l] : y.lane[l]; });
  }
  /// Nearest integer, ties to even.
  static F round(F a) {
    return each([&](int l) { return std::nearbyint(a.lane[l]); });
  }
  /// a * 2^n for integers n in -252..252, as two products so that the ends do not overflow early.
  static F scale_by_power(F a, F n) {
    return each([&](int l) {
      if (std::isnan(n.lane[l])) return n.lane[l];
      const int exponent = static_cast<int>(n.lane[l]);
      const int half = exponent >> 1;
      return a.lane[l] * power(half) * power(exponent - half);
    });
  }
  /// Lanes 8..15 onto 0..7, 4..7 onto 0..3, and so on.
  static float sum(F a) {
    for (int half = kCount / 2; half > 0; half /= 2) {
      for (int l = 0; l < half; ++l) a.lane[l] += a.lane[l + half];
    }
    return a.lane[0];
  }
  static float largest(F a) {
    for (int half = kCount / 2; half > 0; half /= 2) {
      for (int l = 0; l < half; ++l) a.lane[l] = a.lane[l] > a.lane[l + half] ? a.lane[l] : a.lane[l + half];
    }
    return a.lane[0];
  }
  /// The largest |lane| of both. Bits are compared, so what is not finite is larger than all that is.
  static float largest_magnitude(F a, F b) {
    std::uint32_t most = 0;
    for (int l = 0; l < kCount; ++l) {
      for (const F* x : {&a, &b}) {
        const auto bits = std::bit_cast<std::uint32_t>(std::fabs(x->lane[l]));
        most = bits > most ? bits : most;
      }
    }
    return std::bit_cast<float>(most);
  }
  /// Of 16.
  static int sum_int8(const std::int8_t* p) {
    int sum = 0;
    for (int l = 0; l < kCount; ++l) sum += p[l];
    return sum;
  }

 private:
  static float power(int exponent) { return std::bit_cast<float>(static_cast<std::uint32_t>(exponent + 127) << 23); }
};

using LanesPlain = LanesPortable<Fused::kTwoRoundings>;
using LanesTwin = LanesPortable<Fused::kExact>;

}  // namespace junto
