#include "tensor/q5_1.h"

#include <cstring>

#include "tensor/half.h"
#include "tensor/scale_search.h"

namespace junto {

void unpack_q5_1(const std::byte* block, UnpackedBlock& out) {
  BlockQ5_1 b;
  std::memcpy(&b, block, sizeof b);
  for (int i = 0; i < 32; ++i) {
    const int high = b.high[i / 8] >> i % 8 & 1;
    out.quant[i] = static_cast<std::int8_t>((b.quant[i % 16] >> i / 16 * 4 & 15) | high << 4);
  }
  out.scale[0] = out.scale[1] = half_to_float(b.d);
  out.min[0] = out.min[1] = -half_to_float(b.m);
}

void encode_q5_1(const float* in, std::byte* out, std::int64_t count, const float* importance) {
  float weights[32];
  for (std::int64_t at = 0; at < count; at += 32, out += sizeof(BlockQ5_1)) {
    const std::span<const float> values(in + at, 32);
    error_weights(values, importance_of(importance, at, 32), weights);
    const ScaleMin fit = search_scale_offset(values, weights, 31);
    BlockQ5_1 b{};
    b.d = saturating_half(fit.scale);
    b.m = saturating_half(-fit.min);
    const float inverse = inverse_or_zero(half_to_float(b.d));
    const float least = half_to_float(b.m);
    for (int i = 0; i < 32; ++i) {
      const int q = quantise_value(in[at + i] - least, inverse, {0, 31});
      b.quant[i % 16] |= static_cast<std::uint8_t>((q & 15) << i / 16 * 4);
      b.high[i / 8] |= static_cast<std::uint8_t>(q >> 4 << i % 8);
    }
    std::memcpy(out, &b, sizeof b);
  }
}

}  // namespace junto
