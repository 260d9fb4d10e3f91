// Q3_K: 256 values in 110 bytes, 3.4375 bits each: 16 groups of 16 with w = (d * (scale - 32)) * q, q -4..3, scale
// 0..63.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/block_formats.h"

namespace junto {

struct BlockQ3_K {
  std::uint8_t high[32];    // bit i / 32 of byte i % 32 belongs to value i: 1 adds nothing, 0 subtracts 4
  std::uint8_t quant[64];   // per 128 values 32 bytes: value i has bits 2 * (i / 32) of byte i % 32
  std::uint8_t scales[12];  // scale j: nibble j / 8 of byte j % 8, and bits 2 * (j / 4) of byte 8 + j % 4 above it
  std::uint16_t d;          // scale of the scales, F16
};
static_assert(sizeof(BlockQ3_K) == 110);

void unpack_q3_k(const std::byte* block, UnpackedBlock& out);
void encode_q3_k(const float* in, std::byte* out, std::int64_t count, const float* importance);

}  // namespace junto
