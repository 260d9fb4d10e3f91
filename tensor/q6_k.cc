#include "tensor/q6_k.h"

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
  for (std::int64_t at = 0; at < count; at += 256, out += sizeof(BlockQ6_K)) {
    const SignedGrid grid =
        search_signed_grid({in + at, 256}, importance_of(importance, at, 256), {-32, 31}, {-128, 127});
    BlockQ6_K b{};
    b.d = grid.d;
    std::memcpy(b.scales, grid.scale, sizeof b.scales);
    for (int i = 0; i < 256; ++i) {
      const int q = grid.quant[i] + 32;
      const Place to = place(i);
      b.low[to.low] |= static_cast<std::uint8_t>((q & 15) << to.low_shift);
      b.high[to.high] |= static_cast<std::uint8_t>((q >> 4) << to.high_shift);
    }
    std::memcpy(out, &b, sizeof b);
  }
}

}  // namespace junto
