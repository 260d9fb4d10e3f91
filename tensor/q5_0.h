// Q5_0: 32 values in 22 bytes, 5.5 bits each; w = d * (q - 16), q 0..31.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/block_formats.h"

namespace junto {

struct BlockQ5_0 {
  std::uint16_t d;         // scale, F16
  std::uint8_t high[4];    // fifth bit of value i: bit i % 8 of byte i / 8
  std::uint8_t quant[16];  // value i: low nibble of byte i; value i + 16: its high nibble
};
static_assert(sizeof(BlockQ5_0) == 22);

void unpack_q5_0(const std::byte* block, UnpackedBlock& out);
void encode_q5_0(const float* in, std::byte* out, std::int64_t count, const float* importance);

}  // namespace junto
