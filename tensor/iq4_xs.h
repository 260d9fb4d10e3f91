// IQ4_XS: 256 values in 136 bytes, 4.25 bits each: 8 groups of 32 with w = (d * (scale - 32)) * kIq4Values[q]
// (iq4_grid.h), scale 0..63.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/block_formats.h"

namespace junto {

struct BlockIQ4_XS {
  std::uint16_t d;             // scale of the scales, F16
  std::uint16_t scales_high;   // upper two bits of scale j: bits 2 * j
  std::uint8_t scales_low[4];  // lower four bits of scale j: nibble j % 2 of byte j / 2
  std::uint8_t quant[128];     // per 32 values 16 bytes: value i low nibble of byte i, value i + 16 its high nibble
};
static_assert(sizeof(BlockIQ4_XS) == 136);

void unpack_iq4_xs(const std::byte* block, UnpackedBlock& out);
void encode_iq4_xs(const float* in, std::byte* out, std::int64_t count, const float* importance);

}  // namespace junto
