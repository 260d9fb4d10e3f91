#include "tensor/q8_0.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tensor/half.h"
#include "tensor/scale_search.h"

namespace junto {

void unpack_q8_0(const std::byte* block, UnpackedBlock& out) {
  BlockQ8_0 b;
  std::memcpy(&b, block, sizeof b);
  std::memcpy(out.quant, b.quant, 32);
  out.scale[0] = out.scale[1] = half_to_float(b.d);
  out.min[0] = out.min[1] = 0;
}

// At 8 bits a search gains nothing that shows: the scale is that of the largest magnitude.
void encode_q8_0(const float* in, std::byte* out, std::int64_t count, const float* /*importance*/) {
  for (std::int64_t at = 0; at < count; at += 32, out += sizeof(BlockQ8_0)) {
    float most = 0;
    for (int i = 0; i < 32; ++i) most = std::max(most, std::fabs(in[at + i]));
    BlockQ8_0 b{};
    b.d = saturating_half(most / 127);
    const float inverse = inverse_or_zero(half_to_float(b.d));
    for (int i = 0; i < 32; ++i) {
      b.quant[i] = static_cast<std::int8_t>(quantise_value(in[at + i], inverse, {-127, 127}));
    }
    std::memcpy(out, &b, sizeof b);
  }
}

}  // namespace junto
