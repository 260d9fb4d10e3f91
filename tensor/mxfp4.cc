#include "tensor/mxfp4.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "tensor/scale_search.h"

namespace junto {
namespace {

// Twice the E2M1 numbers 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives.
constexpr std::int8_t kMxfp4Values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// 2^(e - 128): half of what E8M0 says, for the doubled grid.
float half_scale(int e) {
  return std::bit_cast<float>(e < 2 ? 0x00200000u << e : static_cast<std::uint32_t>(e - 1) << 23);
}

int nearest_point(float scaled) {
  const float magnitude = std::fabs(scaled);
  int index = 0;
  for (int i = 0; i < 7; ++i) index += magnitude > 0.5f * static_cast<float>(kMxfp4Values[i] + kMxfp4Values[i + 1]);
  return index == 0 || scaled >= 0 ? index : index + 8;
}

double error_at(const float* values, const float* weights, float scale) {
  const float inverse = inverse_or_zero(scale);
  double error = 0;
  for (int i = 0; i < 32; ++i) {
    const double miss = static_cast<double>(scale) * kMxfp4Values[nearest_point(values[i] * inverse)] - values[i];
    error += weights[i] * miss * miss;
  }
  return error;
}

// The exponent that puts the largest value between 4 and 8 (the grid ends at 6) loses some outliers and the next one
// resolution; which is better depends on the other values.
int search_exponent(const float* values, const float* weights) {
  float most = 0;
  for (int i = 0; i < 32; ++i) most = std::max(most, std::fabs(values[i]));
  if (!(most > 1e-30f)) return 0;
  const int usual = std::ilogb(most) - 2 + 127;
  int best = 0;
  double least = -1;
  for (int e = std::max(usual - 1, 0); e <= std::min(usual + 1, 252); ++e) {
    const double error = error_at(values, weights, half_scale(e));
    if (least < 0 || error < least) least = error, best = e;
  }
  return best;
}

}  // namespace

void unpack_mxfp4(const std::byte* block, UnpackedBlock& out) {
  BlockMXFP4 b;
  std::memcpy(&b, block, sizeof b);
  for (int i = 0; i < 16; ++i) {
    out.quant[i] = kMxfp4Values[b.quant[i] & 15];
    out.quant[i + 16] = kMxfp4Values[b.quant[i] >> 4];
  }
  out.scale[0] = out.scale[1] = half_scale(b.e);
  out.min[0] = out.min[1] = 0;
}

void encode_mxfp4(const float* in, std::byte* out, std::int64_t count, const float* importance) {
  float weights[32];
  for (std::int64_t at = 0; at < count; at += 32, out += sizeof(BlockMXFP4)) {
    error_weights({in + at, 32}, importance_of(importance, at, 32), weights);
    BlockMXFP4 b{};
    b.e = static_cast<std::uint8_t>(search_exponent(in + at, weights));
    const float inverse = inverse_or_zero(half_scale(b.e));
    for (int i = 0; i < 32; ++i) {
      b.quant[i % 16] |= static_cast<std::uint8_t>(nearest_point(in[at + i] * inverse) << i / 16 * 4);
    }
    std::memcpy(out, &b, sizeof b);
  }
}

}  // namespace junto
