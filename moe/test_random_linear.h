// Random layers for the tests of this room.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include "moe/linear.h"
#include "tensor/block_formats.h"

namespace junto {

inline std::vector<float> random_values(std::int64_t count, std::mt19937& random) {
  std::uniform_real_distribution<float> value(-0.5f, 0.5f);
  std::vector<float> values(count);
  for (float& v : values) v = value(random);
  return values;
}

/// The same bits, which equal numbers need not have (0 and -0) and NaN does have.
inline bool same_bits(std::span<const float> a, std::span<const float> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](float x, float y) {
    return std::bit_cast<std::uint32_t>(x) == std::bit_cast<std::uint32_t>(y);
  });
}

/// [n, k] weights stored as `type`.
inline Linear random_linear(DType type, std::int64_t n, std::int64_t k, std::mt19937& random) {
  auto bytes = std::make_shared<std::vector<std::byte>>(bytes_of(type, n * k));
  encode_values(type, random_values(n * k, random), bytes->data());
  Linear linear;
  linear.weights = make_weights(Tensor{.type = type, .shape = {n, k}, .bytes = *bytes, .keep_alive = bytes});
  return linear;
}

inline std::vector<float> decoded(const WeightMatrix& weights) {
  std::vector<float> values(weights.rows * weights.cols);
  for (std::int64_t row = 0; row < weights.rows; ++row) {
    decode_row(weights, row, std::span(values).subspan(row * weights.cols, weights.cols));
  }
  return values;
}

inline LowRank random_low_rank(std::int64_t rank, std::int64_t n, std::int64_t k, std::mt19937& random) {
  return {.rank = rank,
          .a = random_values(rank * k, random),
          .b_transposed = random_values(rank * n, random),
          .scale = 0.7f};
}

}  // namespace junto
