#include "tensor/q4_1.h"

#include <cstring>

#include "tensor/half.h"
#include "tensor/scale_search.h"

namespace junto {

void unpack_q4_1(const std::byte* block, UnpackedBlock& out) {
  BlockQ4_1 b;
  std::memcpy(&b, block, sizeof b);
  for (int i = 0; i < 16; ++i) {
    out.quant[i] = static_cast<std::int8_t>(b.quant[i] & 15);
    out.quant[i + 16] = static_cast<std::int8_t>(b.quant[i] >> 4);
  }
  out.scale[0] = out.scale[1] = half_to_float(b.d);
  out.min[0] = out.min[1] = -half_to_float(b.m);
}

void encode_q4_1(const float* in, std::byte* out, std::int64_t count, const float* importance) {
  float weights[32];
  for (std::int64_t at = 0; at < count; at += 32, out += sizeof(BlockQ4_1)) {
    const std::span<const float> values(in + at, 32);
    error_weights(values, importance_of(importance, at, 32), weights);
    const ScaleMin fit = search_scale_offset(values, weights, 15);
    BlockQ4_1 b{};
    b.d = saturating_half(fit.scale);
    b.m = saturating_half(-fit.min);
    const float inverse = inverse_or_zero(half_to_float(b.d));
    const float least = half_to_float(b.m);
    for (std::size_t i = 0; i < 16; ++i) {
      const int low = quantise_value(values[i] - least, inverse, {0, 15});
      const int high = quantise_value(values[i + 16] - least, inverse, {0, 15});
      b.quant[i] = static_cast<std::uint8_t>(low | high << 4);
    }
    std::memcpy(out, &b, sizeof b);
  }
}

}  // namespace junto
