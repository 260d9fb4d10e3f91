// The 12 bytes in which Q4_K and Q5_K keep 8 scales and 8 mins of 6 bits: bytes 0-3 scales 0-3 and bytes 4-7 mins 0-3
// in their lower 6 bits; bytes 8-11 the lower 4 bits of scales (low nibble) and mins (high nibble) 4-7, whose upper 2
// bits are the upper 2 bits of bytes 0-3 and 4-7.
#pragma once

#include <cstdint>

namespace junto {

struct ScalesK4 {
  std::uint8_t scale[8];
  std::uint8_t min[8];
};

inline ScalesK4 unpack_scales_k4(const std::uint8_t* in) {
  ScalesK4 out;
  for (int j = 0; j < 4; ++j) {
    out.scale[j] = in[j] & 63;
    out.min[j] = in[j + 4] & 63;
    out.scale[j + 4] = static_cast<std::uint8_t>((in[j + 8] & 15) | (in[j] >> 6) << 4);
    out.min[j + 4] = static_cast<std::uint8_t>((in[j + 8] >> 4) | (in[j + 4] >> 6) << 4);
  }
  return out;
}

inline void pack_scales_k4(const std::uint8_t* scale, const std::uint8_t* min, std::uint8_t* out) {
  for (int j = 0; j < 4; ++j) {
    out[j] = static_cast<std::uint8_t>(scale[j] | (scale[j + 4] >> 4) << 6);
    out[j + 4] = static_cast<std::uint8_t>(min[j] | (min[j + 4] >> 4) << 6);
    out[j + 8] = static_cast<std::uint8_t>((scale[j + 4] & 15) | (min[j + 4] & 15) << 4);
  }
}

}  // namespace junto
