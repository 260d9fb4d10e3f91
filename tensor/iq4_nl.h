// IQ4_NL: 32 values in 18 bytes, 4.5 bits each; w = d * kIq4Values[q], a fixed uneven grid of 16 points.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/block_formats.h"

namespace junto {

struct BlockIQ4_NL {
  std::uint16_t d;         // scale, F16
  std::uint8_t quant[16];  // value i: low nibble of byte i; value i + 16: its high nibble
};
static_assert(sizeof(BlockIQ4_NL) == 18);

void unpack_iq4_nl(const std::byte* block, UnpackedBlock& out);
void encode_iq4_nl(const float* in, std::byte* out, std::int64_t count, const float* importance);

}  // namespace junto
