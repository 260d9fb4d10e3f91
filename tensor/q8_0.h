// Q8_0: 32 values in 34 bytes, 8.5 bits each; w = d * q, q -128..127.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/block_formats.h"

namespace junto {

struct BlockQ8_0 {
  std::uint16_t d;  // scale, F16
  std::int8_t quant[32];
};
static_assert(sizeof(BlockQ8_0) == 34);

void unpack_q8_0(const std::byte* block, UnpackedBlock& out);
void encode_q8_0(const float* in, std::byte* out, std::int64_t count, const float* importance);

}  // namespace junto
