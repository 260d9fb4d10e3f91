#include "tensor/iq4_xs.h"

#include <cstring>

#include "tensor/half.h"
#include "tensor/iq4_grid.h"
#include "tensor/scale_search.h"

namespace junto {

void unpack_iq4_xs(const std::byte* block, UnpackedBlock& out) {
  BlockIQ4_XS b;
  std::memcpy(&b, block, sizeof b);
  const float d = half_to_float(b.d);
  for (int j = 0; j < 8; ++j) {
    const int scale = (b.scales_low[j / 2] >> j % 2 * 4 & 15) | (b.scales_high >> 2 * j & 3) << 4;
    out.scale[2 * j] = out.scale[2 * j + 1] = d * static_cast<float>(scale - 32);
    out.min[2 * j] = out.min[2 * j + 1] = 0;
    for (int i = 0; i < 16; ++i) {
      out.quant[32 * j + i] = kIq4Values[b.quant[16 * j + i] & 15];
      out.quant[32 * j + i + 16] = kIq4Values[b.quant[16 * j + i] >> 4];
    }
  }
}

void encode_iq4_xs(const float* in, std::byte* out, std::int64_t count, const float* importance) {
  float weights[256];
  for (std::int64_t at = 0; at < count; at += 256, out += sizeof(BlockIQ4_XS)) {
    const std::span<const float> values(in + at, 256);
    error_weights(values, importance_of(importance, at, 256), weights);
    float scales[8];
    for (std::size_t j = 0; j < 8; ++j) {
      scales[j] = search_iq4_scale(values.subspan(32 * j, 32), std::span<const float>(weights).subspan(32 * j, 32));
    }
    std::int8_t quantised[8];
    BlockIQ4_XS b{};
    b.d = quantise_scales(scales, {-32, 31}, quantised);
    for (int j = 0; j < 8; ++j) {
      const int scale = quantised[j] + 32;
      b.scales_low[j / 2] |= static_cast<std::uint8_t>((scale & 15) << j % 2 * 4);
      b.scales_high = static_cast<std::uint16_t>(b.scales_high | scale >> 4 << 2 * j);
      const float inverse = inverse_or_zero(half_to_float(b.d) * quantised[j]);
      for (int i = 0; i < 32; ++i) {
        b.quant[16 * j + i % 16] |= static_cast<std::uint8_t>(nearest_iq4(in[at + 32 * j + i] * inverse) << i / 16 * 4);
      }
    }
    std::memcpy(out, &b, sizeof b);
  }
}

}  // namespace junto
