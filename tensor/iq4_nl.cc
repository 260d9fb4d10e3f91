#include "tensor/iq4_nl.h"

#include <cstring>

#include "tensor/half.h"
#include "tensor/iq4_grid.h"
#include "tensor/scale_search.h"

namespace junto {

void unpack_iq4_nl(const std::byte* block, UnpackedBlock& out) {
  BlockIQ4_NL b;
  std::memcpy(&b, block, sizeof b);
  for (int i = 0; i < 16; ++i) {
    out.quant[i] = kIq4Values[b.quant[i] & 15];
    out.quant[i + 16] = kIq4Values[b.quant[i] >> 4];
  }
  out.scale[0] = out.scale[1] = half_to_float(b.d);
  out.min[0] = out.min[1] = 0;
}

void encode_iq4_nl(const float* in, std::byte* out, std::int64_t count, const float* importance) {
  float weights[32];
  for (std::int64_t at = 0; at < count; at += 32, out += sizeof(BlockIQ4_NL)) {
    const std::span<const float> values(in + at, 32);
    error_weights(values, importance_of(importance, at, 32), weights);
    BlockIQ4_NL b{};
    b.d = saturating_half(search_iq4_scale(values, weights));
    const float inverse = inverse_or_zero(half_to_float(b.d));
    for (int i = 0; i < 32; ++i) {
      b.quant[i % 16] |= static_cast<std::uint8_t>(nearest_iq4(in[at + i] * inverse) << i / 16 * 4);
    }
    std::memcpy(out, &b, sizeof b);
  }
}

}  // namespace junto
