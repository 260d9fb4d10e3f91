#include "tensor/q5_0.h"

#include <cstring>

#include "tensor/half.h"
#include "tensor/scale_search.h"

namespace junto {

void unpack_q5_0(const std::byte* block, UnpackedBlock& out) {
  BlockQ5_0 b;
  std::memcpy(&b, block, sizeof b);
  for (int i = 0; i < 32; ++i) {
    const int high = b.high[i / 8] >> i % 8 & 1;
    out.quant[i] = static_cast<std::int8_t>(((b.quant[i % 16] >> i / 16 * 4 & 15) | high << 4) - 16);
  }
  out.scale[0] = out.scale[1] = half_to_float(b.d);
  out.min[0] = out.min[1] = 0;
}

void encode_q5_0(const float* in, std::byte* out, std::int64_t count, const float* importance) {
  constexpr QuantRange kRange{-16, 15};
  float weights[32];
  for (std::int64_t at = 0; at < count; at += 32, out += sizeof(BlockQ5_0)) {
    const std::span<const float> values(in + at, 32);
    error_weights(values, importance_of(importance, at, 32), weights);
    BlockQ5_0 b{};
    b.d = saturating_half(search_scale(values, weights, kRange));
    const float inverse = inverse_or_zero(half_to_float(b.d));
    for (int i = 0; i < 32; ++i) {
      const int q = quantise_value(in[at + i], inverse, kRange) + 16;
      b.quant[i % 16] |= static_cast<std::uint8_t>((q & 15) << i / 16 * 4);
      b.high[i / 8] |= static_cast<std::uint8_t>(q >> 4 << i % 8);
    }
    std::memcpy(out, &b, sizeof b);
  }
}

}  // namespace junto
