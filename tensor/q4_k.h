// Q4_K: 256 values in 144 bytes, 4.5 bits each: 8 groups of 32 with w = (d * scale) * q - (dmin * min), q 0..15,
// scale and min 0..63.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/block_formats.h"

namespace junto {

struct BlockQ4_K {
  std::uint16_t d;          // scale of the scales, F16
  std::uint16_t dmin;       // scale of the mins, F16
  std::uint8_t scales[12];  // 8 six-bit scales and 8 six-bit mins, see unpack_scales_k4
  std::uint8_t quant[128];  // per 64 values 32 bytes: value i low nibble of byte i, value i + 32 its high nibble
};
static_assert(sizeof(BlockQ4_K) == 144);

void unpack_q4_k(const std::byte* block, UnpackedBlock& out);
void encode_q4_k(const float* in, std::byte* out, std::int64_t count, const float* importance);

}  // namespace junto
