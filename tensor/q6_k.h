// Q6_K: 256 values in 210 bytes, 6.5625 bits each: 16 groups of 16 with w = (d * scale) * (q - 32), q 0..63, scale
// int8.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/block_formats.h"

namespace junto {

struct BlockQ6_K {
  // Per 128 values: low[64], where byte i has value i (low nibble) and value i + 64 (high), and high[32], where byte i
  // has the upper two bits of values i, i + 32, i + 64, i + 96, lowest bits first.
  std::uint8_t low[128];
  std::uint8_t high[64];
  std::int8_t scales[16];
  std::uint16_t d;  // scale of the scales, F16
};
static_assert(sizeof(BlockQ6_K) == 210);

void unpack_q6_k(const std::byte* block, UnpackedBlock& out);
void encode_q6_k(const float* in, std::byte* out, std::int64_t count, const float* importance);

}  // namespace junto
