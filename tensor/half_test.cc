#include "tensor/half.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>
#include <vector>

namespace junto {
namespace {

// What a code of an IEEE-like format stands for, from the definition.
double value_of(unsigned code, int exponent_bits, int mantissa_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = static_cast<int>(code >> mantissa_bits);
  const double fraction = (code & ((1u << mantissa_bits) - 1)) / std::ldexp(1.0, mantissa_bits);
  return exponent == 0 ? std::ldexp(fraction, 1 - bias) : std::ldexp(1 + fraction, exponent - bias);
}

struct Format {
  const char* name;
  int exponent_bits, mantissa_bits;
  unsigned last_finite;  // largest finite code
  bool has_infinity;
  std::function<float(unsigned)> widen;
  std::function<unsigned(float)> narrow;
};

std::vector<Format> formats() {
  return {
      {"f16", 5, 10, 0x7bff, true, [](unsigned c) { return half_to_float(static_cast<std::uint16_t>(c)); },
       [](float v) { return unsigned{float_to_half(v)}; }},
      {"bf16", 8, 7, 0x7f7f, true, [](unsigned c) { return bf16_to_float(static_cast<std::uint16_t>(c)); },
       [](float v) { return unsigned{float_to_bf16(v)}; }},
      {"e4m3", 4, 3, 0x7e, false, [](unsigned c) { return f8e4m3_to_float(static_cast<std::uint8_t>(c)); },
       [](float v) { return unsigned{float_to_f8e4m3(v)}; }},
      {"e5m2", 5, 2, 0x7b, true, [](unsigned c) { return f8e5m2_to_float(static_cast<std::uint8_t>(c)); },
       [](float v) { return unsigned{float_to_f8e5m2(v)}; }},
  };
}

TEST(Half, EveryFiniteCodeWidensToItsValueAndComesBack) {
  for (const Format& f : formats()) {
    const unsigned sign = 1u << (f.exponent_bits + f.mantissa_bits);
    for (unsigned code = 0; code <= f.last_finite; ++code) {
      ASSERT_EQ(f.widen(code), value_of(code, f.exponent_bits, f.mantissa_bits)) << f.name << " " << code;
      ASSERT_EQ(f.widen(code | sign), -f.widen(code)) << f.name;
      ASSERT_EQ(f.narrow(f.widen(code)), code) << f.name;
      ASSERT_EQ(f.narrow(f.widen(code | sign)), code | sign) << f.name;
    }
  }
}

TEST(Half, MidpointsRoundToEvenAndTheirNeighboursToTheNearer) {
  for (const Format& f : formats()) {
    for (unsigned code = 0; code < f.last_finite; ++code) {
      const auto middle = static_cast<float>((static_cast<double>(f.widen(code)) + f.widen(code + 1)) / 2);
      if (f.exponent_bits == 8 && code < 2) continue;  // halfway between float subnormals: not a float
      ASSERT_EQ(f.narrow(middle), code + (code & 1)) << f.name << " " << code;
      ASSERT_EQ(f.narrow(std::nextafter(middle, 0.0f)), code) << f.name << " " << code;
      ASSERT_EQ(f.narrow(std::nextafter(middle, INFINITY)), code + 1) << f.name << " " << code;
    }
  }
}

TEST(Half, OverflowInfinityAndNan) {
  for (const Format& f : formats()) {
    const float largest = f.widen(f.last_finite);
    const float step = largest - f.widen(f.last_finite - 1);
    const unsigned beyond = f.last_finite + 1;  // infinity, or NaN where the format has none
    EXPECT_EQ(f.narrow(std::nextafter(largest + step / 2, 0.0f)), f.last_finite) << f.name;
    if (f.exponent_bits < 8) {
      EXPECT_EQ(f.narrow(largest + step / 2), f.has_infinity ? beyond : f.last_finite) << f.name;
      EXPECT_EQ(f.narrow(largest + 0.75f * step), beyond) << f.name;
    }
    EXPECT_EQ(f.narrow(INFINITY), beyond) << f.name;
    EXPECT_TRUE(std::isnan(f.widen(f.narrow(NAN)))) << f.name;
    if (f.has_infinity) {
      EXPECT_EQ(f.widen(beyond), INFINITY) << f.name;
      EXPECT_TRUE(std::isnan(f.widen(beyond + 1))) << f.name;
    } else {
      EXPECT_TRUE(std::isnan(f.widen(beyond))) << f.name;
    }
  }
}

TEST(Half, E8M0IsAPowerOfTwo) {
  for (int code = 0; code < 255; ++code) {
    ASSERT_EQ(e8m0_to_float(static_cast<std::uint8_t>(code)), std::ldexp(1.0, code - 127)) << code;
  }
  EXPECT_TRUE(std::isnan(e8m0_to_float(255)));
}

}  // namespace
}  // namespace junto
