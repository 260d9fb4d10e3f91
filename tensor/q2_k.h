// Q2_K: 256 values in 84 bytes, 2.625 bits each: 16 groups of 16 with w = (d * scale) * q - (dmin * min), q 0..3, scale
// and min 0..15.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/block_formats.h"

namespace junto {

struct BlockQ2_K {
  std::uint8_t scales[16];  // scale in the low nibble, min in the high one
  std::uint8_t quant[64];   // per 128 values 32 bytes: value i has bits 2 * (i / 32) of byte i % 32
  std::uint16_t d;          // scale of the scales, F16
  std::uint16_t dmin;       // scale of the mins, F16
};
static_assert(sizeof(BlockQ2_K) == 84);

void unpack_q2_k(const std::byte* block, UnpackedBlock& out);
void encode_q2_k(const float* in, std::byte* out, std::int64_t count, const float* importance);

}  // namespace junto
