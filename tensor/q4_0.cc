#include "tensor/q4_0.h"

#include <cstring>

#include "tensor/half.h"
#include "tensor/scale_search.h"

namespace junto {

void unpack_q4_0(const std::byte* block, UnpackedBlock& out) {
  BlockQ4_0 b;
  std::memcpy(&b, block, sizeof b);
  for (int i = 0; i < 16; ++i) {
    out.quant[i] = static_cast<std::int8_t>((b.quant[i] & 15) - 8);
    out.quant[i + 16] = static_cast<std::int8_t>((b.quant[i] >> 4) - 8);
  }
  out.scale[0] = out.scale[1] = half_to_float(b.d);
  out.min[0] = out.min[1] = 0;
}

void encode_q4_0(const float* in, std::byte* out, std::int64_t count, const float* importance) {
  constexpr QuantRange kRange{-8, 7};
  float weights[32];
  for (std::int64_t at = 0; at < count; at += 32, out += sizeof(BlockQ4_0)) {
    const std::span<const float> values(in + at, 32);
    error_weights(values, importance_of(importance, at, 32), weights);
    BlockQ4_0 b{};
    b.d = saturating_half(search_scale(values, weights, kRange));
    const float inverse = inverse_or_zero(half_to_float(b.d));
    for (std::size_t i = 0; i < 16; ++i) {
      const int low = quantise_value(values[i], inverse, kRange) + 8;
      const int high = quantise_value(values[i + 16], inverse, kRange) + 8;
      b.quant[i] = static_cast<std::uint8_t>(low | high << 4);
    }
    std::memcpy(out, &b, sizeof b);
  }
}

}  // namespace junto
