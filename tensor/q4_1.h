// Q4_1: 32 values in 20 bytes, 5 bits each; w = d * q + m, q 0..15.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/block_formats.h"

namespace junto {

struct BlockQ4_1 {
  std::uint16_t d;         // scale, F16
  std::uint16_t m;         // value of q = 0, F16
  std::uint8_t quant[16];  // value i: low nibble of byte i; value i + 16: its high nibble
};
static_assert(sizeof(BlockQ4_1) == 20);

void unpack_q4_1(const std::byte* block, UnpackedBlock& out);
void encode_q4_1(const float* in, std::byte* out, std::int64_t count, const float* importance);

}  // namespace junto
