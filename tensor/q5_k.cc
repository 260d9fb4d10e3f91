#include "tensor/q5_k.h"

#include <cstring>

#include "tensor/half.h"
#include "tensor/scale_search.h"
#include "tensor/scales_k4.h"

namespace junto {

void unpack_q5_k(const std::byte* block, UnpackedBlock& out) {
  BlockQ5_K b;
  std::memcpy(&b, block, sizeof b);
  const float d = half_to_float(b.d), dmin = half_to_float(b.dmin);
  const ScalesK4 scales = unpack_scales_k4(b.scales);
  for (int j = 0; j < 8; ++j) {
    out.scale[2 * j] = out.scale[2 * j + 1] = d * scales.scale[j];
    out.min[2 * j] = out.min[2 * j + 1] = dmin * scales.min[j];
    const std::uint8_t* quant = b.quant + j / 2 * 32;
    for (int i = 0; i < 32; ++i) {
      out.quant[32 * j + i] = static_cast<std::int8_t>((quant[i] >> (j % 2 * 4) & 15) | (b.high[i] >> j & 1) << 4);
    }
  }
}

void encode_q5_k(const float* in, std::byte* out, std::int64_t count, const float* importance) {
  for (std::int64_t at = 0; at < count; at += 256, out += sizeof(BlockQ5_K)) {
    const GroupedGrid grid = search_grouped_grid({in + at, 256}, importance_of(importance, at, 256), 32, 31, 63);
    BlockQ5_K b{};
    b.d = grid.d, b.dmin = grid.dmin;
    pack_scales_k4(grid.scale, grid.min, b.scales);
    for (int i = 0; i < 256; ++i) {
      b.quant[i / 64 * 32 + i % 32] |= static_cast<std::uint8_t>((grid.quant[i] & 15) << (i % 64 / 32 * 4));
      b.high[i % 32] |= static_cast<std::uint8_t>(grid.quant[i] >> 4 << i / 32);
    }
    std::memcpy(out, &b, sizeof b);
  }
}

}  // namespace junto
