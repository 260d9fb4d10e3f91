// MXFP4 (OCP Microscaling Formats 1.0): 32 values in 17 bytes, 4.25 bits each; E2M1 numbers times a power of two.
// w = 2^(e - 128) * kMxfp4Values[q]: the grid holds twice the E2M1 numbers, so that it is of integers. As in GGUF
// files, e = 255 is 2^127, not NaN.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/block_formats.h"

namespace junto {

struct BlockMXFP4 {
  std::uint8_t e;          // scale, E8M0
  std::uint8_t quant[16];  // value i: low nibble of byte i; value i + 16: its high nibble
};
static_assert(sizeof(BlockMXFP4) == 17);

void unpack_mxfp4(const std::byte* block, UnpackedBlock& out);
void encode_mxfp4(const float* in, std::byte* out, std::int64_t count, const float* importance);

}  // namespace junto
