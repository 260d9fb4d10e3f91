#include "tensor/q3_k.h"

#include <cstring>

#include "tensor/half.h"
#include "tensor/scale_search.h"

namespace junto {

void unpack_q3_k(const std::byte* block, UnpackedBlock& out) {
  BlockQ3_K b;
  std::memcpy(&b, block, sizeof b);
  const float d = half_to_float(b.d);
  for (int j = 0; j < 16; ++j) {
    const int scale = (b.scales[j % 8] >> j / 8 * 4 & 15) | (b.scales[8 + j % 4] >> j / 4 * 2 & 3) << 4;
    out.scale[j] = d * static_cast<float>(scale - 32);
    out.min[j] = 0;
  }
  for (int i = 0; i < 256; ++i) {
    const int low = b.quant[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
    const int high = b.high[i % 32] >> i / 32 & 1;
    out.quant[i] = static_cast<std::int8_t>(low + 4 * high - 4);
  }
}

void encode_q3_k(const float* in, std::byte* out, std::int64_t count, const float* importance) {
  constexpr QuantRange kRange{-4, 3};
  for (std::int64_t at = 0; at < count; at += 256, out += sizeof(BlockQ3_K)) {
    const SignedGrid grid = search_signed_grid({in + at, 256}, importance_of(importance, at, 256), kRange, {-32, 31});
    BlockQ3_K b{};
    b.d = grid.d;
    for (int j = 0; j < 16; ++j) {
      const int scale = grid.scale[j] + 32;
      b.scales[j % 8] |= static_cast<std::uint8_t>((scale & 15) << j / 8 * 4);
      b.scales[8 + j % 4] |= static_cast<std::uint8_t>(scale >> 4 << j / 4 * 2);
    }
    for (int i = 0; i < 256; ++i) {
      const int q = grid.quant[i] + 4;
      b.quant[i / 128 * 32 + i % 32] |= static_cast<std::uint8_t>((q & 3) << (i % 128 / 32 * 2));
      b.high[i % 32] |= static_cast<std::uint8_t>(q >> 2 << i / 32);
    }
    std::memcpy(out, &b, sizeof b);
  }
}

}  // namespace junto
