#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tensor/block_formats.h"
#include "tensor/half.h"

namespace junto {
namespace {

constexpr std::size_t kTile = 256;  // values decoded at a time
constexpr std::size_t kLanes = 16;

// Values [begin, begin + count) of a stored row; begin is a multiple of a block.
void decode_part(const StoredRows& rows, std::size_t row, std::size_t begin, std::size_t count, float* out) {
  const std::byte* data = rows.data + row * rows.stride;
  if (rows.type == DType::kF32) {
    std::memcpy(out, data + begin * sizeof(float), count * sizeof(float));
    return;
  }
  const std::size_t block = static_cast<std::size_t>(block_values(rows.type));
  const std::size_t padded = (count + block - 1) / block * block;
  decode_values(rows.type, data + bytes_of(rows.type, static_cast<std::int64_t>(begin)), {out, padded});
}

void add_products(const float* a, const float* b, std::size_t count, float* lanes) {
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::size_t l = 0; l < kLanes; ++l) lanes[l] += a[i + l] * b[i + l];
  }
  for (std::size_t l = 0; i + l < count; ++l) lanes[l] += a[i + l] * b[i + l];
}

}  // namespace

void dot_keys(std::span<const float> q, StoredRows keys, std::span<float> scores) {
  float tile[kTile];
  for (std::size_t k = 0; k < scores.size(); ++k) {
    float lanes[kLanes] = {};
    for (std::size_t begin = 0; begin < q.size(); begin += kTile) {
      const std::size_t count = std::min(kTile, q.size() - begin);
      decode_part(keys, k, begin, count, tile);
      add_products(q.data() + begin, tile, count, lanes);
    }
    float sum = 0;
    for (const float lane : lanes) sum += lane;
    scores[k] = sum;
  }
}

void accumulate_values(std::span<const float> weights, StoredRows values, std::span<float> out) {
  float tile[kTile];
  for (std::size_t k = 0; k < weights.size(); ++k) {
    for (std::size_t begin = 0; begin < out.size(); begin += kTile) {
      const std::size_t count = std::min(kTile, out.size() - begin);
      decode_part(values, k, begin, count, tile);
      for (std::size_t d = 0; d < count; ++d) out[begin + d] += weights[k] * tile[d];
    }
  }
}

void store_row(std::span<const float> x, DType type, std::byte* row) {
  if (type == DType::kF32) {
    std::memcpy(row, x.data(), x.size_bytes());
    return;
  }
  const auto block = static_cast<std::size_t>(block_values(type));
  const std::size_t whole = x.size() / block * block;
  if (whole > 0) encode_values(type, x.first(whole), row);
  if (whole == x.size()) return;
  float rest[kTile] = {};
  std::copy(x.begin() + static_cast<std::ptrdiff_t>(whole), x.end(), rest);
  encode_values(type, {rest, block}, row + bytes_of(type, static_cast<std::int64_t>(whole)));
}

float exp_in_place(std::span<float> x, float shift) {
  float sum = 0;
  for (float& value : x) {
    value = std::exp(value - shift);
    sum += value;
  }
  return sum;
}

}  // namespace junto
