// Q5_K: 256 values in 176 bytes, 5.5 bits each: 8 groups of 32 with w = (d * scale) * q - (dmin * min), q 0..31,
// scale and min 0..63.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/block_formats.h"

namespace junto {

struct BlockQ5_K {
  std::uint16_t d;          // scale of the scales, F16
  std::uint16_t dmin;       // scale of the mins, F16
  std::uint8_t scales[12];  // 8 six-bit scales and 8 six-bit mins, see scales_k4.h
  std::uint8_t high[32];    // fifth bit of value i: bit i / 32 of byte i % 32
  std::uint8_t quant[128];  // per 64 values 32 bytes: value i low nibble of byte i, value i + 32 its high nibble
};
static_assert(sizeof(BlockQ5_K) == 176);

void unpack_q5_k(const std::byte* block, UnpackedBlock& out);
void encode_q5_k(const float* in, std::byte* out, std::int64_t count, const float* importance);

}  // namespace junto
