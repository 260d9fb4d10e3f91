#include "tensor/q2_k.h"

#include <cstring>

#include "tensor/half.h"
#include "tensor/scale_search.h"

namespace junto {

void unpack_q2_k(const std::byte* block, UnpackedBlock& out) {
  BlockQ2_K b;
  std::memcpy(&b, block, sizeof b);
  const float d = half_to_float(b.d), dmin = half_to_float(b.dmin);
  for (int j = 0; j < 16; ++j) {
    out.scale[j] = d * static_cast<float>(b.scales[j] & 15);
    out.min[j] = dmin * static_cast<float>(b.scales[j] >> 4);
  }
  for (int i = 0; i < 256; ++i) {
    out.quant[i] = static_cast<std::int8_t>(b.quant[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3);
  }
}

void encode_q2_k(const float* in, std::byte* out, std::int64_t count, const float* importance) {
  for (std::int64_t at = 0; at < count; at += 256, out += sizeof(BlockQ2_K)) {
    const GroupedGrid grid = search_grouped_grid({in + at, 256}, importance_of(importance, at, 256), 16, 3, 15);
    BlockQ2_K b{};
    b.d = grid.d, b.dmin = grid.dmin;
    for (int j = 0; j < 16; ++j) b.scales[j] = static_cast<std::uint8_t>(grid.scale[j] | grid.min[j] << 4);
    for (int i = 0; i < 256; ++i) {
      b.quant[i / 128 * 32 + i % 32] |= static_cast<std::uint8_t>(grid.quant[i] << (i % 128 / 32 * 2));
    }
    std::memcpy(out, &b, sizeof b);
  }
}

}  // namespace junto
