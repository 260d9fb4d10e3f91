// Small floating-point formats <-> float: F16, BF16, FP8 (E4M3, E5M2) and E8M0 scales. Every conversion is exact or
// rounds to nearest, ties to even; subnormals, infinities and NaN included.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>

namespace junto {

/// `value` / 2^shift, to nearest, ties to even. shift is 1..31.
constexpr std::uint32_t shift_round_even(std::uint32_t value, int shift) {
  const std::uint32_t odd = (value >> shift) & 1u;
  return (value + (1u << (shift - 1)) - 1u + odd) >> shift;
}

/// Code (without sign) of a finite float magnitude in an IEEE-like format. A result beyond the largest finite code
/// means overflow; what that becomes is the caller's rule.
constexpr std::uint32_t narrow_magnitude(std::uint32_t float_bits, int exponent_bits, int mantissa_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int least_normal = 128 - bias;  // exponent field, in float, of the smallest normal number
  const int exponent = static_cast<int>(float_bits >> 23);
  if (exponent >= least_normal) {
    return shift_round_even(float_bits - (static_cast<std::uint32_t>(least_normal - 1) << 23), 23 - mantissa_bits);
  }
  const int shift = 23 - mantissa_bits + least_normal - exponent;
  if (exponent == 0 || shift > 24) return 0;  // below half of the smallest subnormal
  return shift_round_even((float_bits & 0x7fffffu) | 0x800000u, shift);
}

/// Bits of the float that a code (without sign; neither infinity nor NaN) stands for.
constexpr std::uint32_t widen_magnitude(std::uint32_t code, int exponent_bits, int mantissa_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  if (code >> mantissa_bits != 0) {
    return (code << (23 - mantissa_bits)) + (static_cast<std::uint32_t>(127 - bias) << 23);
  }
  const float least = std::bit_cast<float>(static_cast<std::uint32_t>(128 - bias - mantissa_bits) << 23);
  return std::bit_cast<std::uint32_t>(static_cast<float>(code) * least);
}

constexpr float half_to_float(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
  const std::uint32_t code = half & 0x7fffu;
  if (code >= 0x7c00u) {  // infinity, NaN (made quiet, as hardware does)
    const std::uint32_t payload = (code & 0x3ffu) << 13;
    return std::bit_cast<float>(sign | 0x7f800000u | payload | (payload ? 0x400000u : 0u));
  }
  return std::bit_cast<float>(sign | widen_magnitude(code, 5, 10));
}

/// Beyond 65519.996 this is infinity.
constexpr std::uint16_t float_to_half(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
  if (magnitude >= 0x47800000u) return static_cast<std::uint16_t>(sign | 0x7c00u);  // 2^16 and above
  return static_cast<std::uint16_t>(sign | narrow_magnitude(magnitude, 5, 10));
}

constexpr float bf16_to_float(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

constexpr std::uint16_t float_to_bf16(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((bits >> 16) | 0x40u);  // NaN, quiet
  return static_cast<std::uint16_t>(shift_round_even(bits, 16));
}

/// OCP FP8 E4M3 (FN): bias 7, largest 448, no infinities, NaN is 0x7f and 0xff.
constexpr float f8e4m3_to_float(std::uint8_t code) {
  const std::uint32_t sign = static_cast<std::uint32_t>(code & 0x80u) << 24;
  const std::uint32_t magnitude = code & 0x7fu;
  return std::bit_cast<float>(sign | (magnitude == 0x7fu ? 0x7fc00000u : widen_magnitude(magnitude, 4, 3)));
}

/// Numbers that round above 448, and infinities, are NaN: the format has nothing else for them.
constexpr std::uint8_t float_to_f8e4m3(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 24) & 0x80u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  const std::uint32_t code = magnitude >= 0x44000000u ? 0x7fu : narrow_magnitude(magnitude, 4, 3);  // 512 and above
  return static_cast<std::uint8_t>(sign | (code > 0x7fu ? 0x7fu : code));
}

/// OCP FP8 E5M2: the upper byte of an F16.
constexpr float f8e5m2_to_float(std::uint8_t code) {
  return half_to_float(static_cast<std::uint16_t>(static_cast<std::uint32_t>(code) << 8));
}

/// Numbers that round above 57344 are infinity.
constexpr std::uint8_t float_to_f8e5m2(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 24) & 0x80u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<std::uint8_t>(sign | 0x7fu);
  if (magnitude >= 0x47800000u) return static_cast<std::uint8_t>(sign | 0x7cu);
  return static_cast<std::uint8_t>(sign | narrow_magnitude(magnitude, 5, 2));
}

/// OCP E8M0: 2^(code - 127); 255 is NaN.
constexpr float e8m0_to_float(std::uint8_t code) {
  if (code == 0xff) return std::numeric_limits<float>::quiet_NaN();
  return std::bit_cast<float>(code == 0 ? 0x00400000u : static_cast<std::uint32_t>(code) << 23);
}

}  // namespace junto
