#include "tensor/q6_k.h"

#include <cmath>
#include <cstring>

#include "tensor/half.h"
#include "tensor/scale_search.h"

namespace junto {
namespace {

// Where value i of a block lies: its nibble of `low` and its two bits of `high`.
struct Place {
  int low, low_shift, high, high_shift;
};

constexpr Place place(int i) {
  const int part = i / 128, in_part = i % 128;
  return {part * 64 + in_part % 64, in_part / 64 * 4, part * 32 + in_part % 32, in_part / 32 * 2};
}

}  // namespace

void unpack_q6_k(const std::byte* block, UnpackedBlock& out) {
  BlockQ6_K b;
  std::memcpy(&b, block, sizeof b);
  const float d = half_to_float(b.d);
  for (int j = 0; j < 16; ++j) {
    out.scale[j] = d * b.scales[j];
    out.min[j] = 0;
  }
  for (int i = 0; i < 256; ++i) {
    const Place at = place(i);
    const int q = (b.low[at.low] >> at.low_shift & 15) | (b.high[at.high] >> at.high_shift & 3) << 4;
    out.quant[i] = static_cast<std::int8_t>(q - 32);
  }
}

void encode_q6_k(const float* in, std::byte* out, std::int64_t count, const float* importance) {
  constexpr QuantRange kRange{-32, 31};
  float weights[256];
  for (std::int64_t at = 0; at < count; at += 256, out += sizeof(BlockQ6_K)) {
    const std::span<const float> values(in + at, 256);
    default_weights(values, importance_of(importance, at, 256), weights);
    BlockQ6_K b{};
    float scales[16];
    for (std::size_t j = 0; j < 16; ++j) {
      scales[j] = search_scale(values.subspan(16 * j, 16), std::span<const float>(weights).subspan(16 * j, 16), kRange);
    }
    b.d = quantise_scales(scales, {-128, 127}, b.scales);
    const float d = half_to_float(b.d);
    for (int i = 0; i < 256; ++i) {
      const float inverse = inverse_or_zero(d * b.scales[i / 16]);
      const int q = quantise_value(values[static_cast<std::size_t>(i)], inverse, kRange) + 32;
      const Place to = place(i);
      b.low[to.low] |= static_cast<std::uint8_t>((q & 15) << to.low_shift);
      b.high[to.high] |= static_cast<std::uint8_t>((q >> 4) << to.high_shift);
    }
    std::memcpy(out, &b, sizeof b);
  }
}

}  // namespace junto
