#include "kernels/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/test_values.h"
#include "tensor/block_formats.h"

namespace junto {
namespace {

std::size_t padded_bytes(DType type, std::size_t dim) {
  const auto block = static_cast<std::size_t>(block_values(type));
  return bytes_of(type, static_cast<std::int64_t>((dim + block - 1) / block * block));
}

struct Case {
  DType type;
  std::size_t dim;
  double tolerance;
};

// Scores of all keys, and 0.5 plus the sum of weights times keys.
void expect_attention(const std::vector<float>& q, const std::vector<float>& keys, const std::vector<float>& weights,
                      const std::vector<float>& scores, const std::vector<float>& out, double tolerance) {
  const std::size_t dim = q.size(), count = scores.size();
  for (std::size_t k = 0; k < count; ++k) {
    double expected = 0;
    for (std::size_t d = 0; d < dim; ++d) expected += double(q[d]) * keys[k * dim + d];
    EXPECT_NEAR(scores[k], expected, tolerance * std::sqrt(double(dim)) * 4) << k;
  }
  for (std::size_t d = 0; d < dim; ++d) {
    double expected = 0.5;
    for (std::size_t k = 0; k < count; ++k) expected += double(weights[k]) * keys[k * dim + d];
    EXPECT_NEAR(out[d], expected, tolerance * std::sqrt(double(count)) * 4.5) << d;
  }
}

class StoredAttention : public testing::TestWithParam<Case> {};

TEST_P(StoredAttention, MatchesDoubleOnRoundTrippedRows) {
  const auto [type, dim, tolerance] = GetParam();
  const std::size_t count = 19, stride = padded_bytes(type, dim);
  std::vector<std::byte> rows(count * stride);
  const std::vector<float> q = random_values(dim, 1), keys = random_values(count * dim, 2);
  for (std::size_t k = 0; k < count; ++k) store_row({keys.data() + k * dim, dim}, type, rows.data() + k * stride);
  std::vector<float> scores(count), out(dim, 0.5f);
  dot_keys(q, {type, rows.data(), stride}, scores);
  std::vector<float> weights = random_values(count, 3);
  accumulate_values(weights, {type, rows.data(), stride}, out);
  expect_attention(q, keys, weights, scores, out, tolerance);
}

TEST_P(StoredAttention, APageMatchesDoubleOnRoundTrippedRows) {
  const auto [type, dim, tolerance] = GetParam();
  const std::size_t stride = padded_bytes(type, dim);
  std::vector<std::byte> page(kPageKeys * stride), rows(kPageKeys * stride);
  const std::vector<float> q = random_values(dim, 1), keys = random_values(kPageKeys * dim, 2),
                           weights = random_values(kPageKeys, 3);
  for (std::size_t k = 0; k < kPageKeys; ++k) {
    store_page_key({keys.data() + k * dim, dim}, type, page.data(), static_cast<int>(k));
    store_row({keys.data() + k * dim, dim}, type, rows.data() + k * stride);
  }
  std::vector<float> scores(kPageKeys), out(dim, 0.5f);
  const float *query = q.data(), *factors = weights.data();
  float *to = scores.data(), *sums = out.data();
  score_page({&query, 1}, dim, {type, page.data()}, {&to, 1});
  add_values({&factors, 1}, kPageKeys, {type, rows.data(), stride}, dim, {&sums, 1});
  expect_attention(q, keys, weights, scores, out, tolerance);
}

TEST_P(StoredAttention, AKeysScoreIsTheSameBitsInAnyCall) {
  const auto [type, dim, tolerance] = GetParam();
  const std::size_t count = 9, stride = padded_bytes(type, dim);
  std::vector<std::byte> rows(count * stride);
  const std::vector<float> q = random_values(dim, 4), keys = random_values(count * dim, 5);
  for (std::size_t k = 0; k < count; ++k) store_row({keys.data() + k * dim, dim}, type, rows.data() + k * stride);
  std::vector<float> all(count);
  dot_keys(q, {type, rows.data(), stride}, all);
  for (std::size_t k = 0; k < count; ++k) {
    float one = 0;
    dot_keys(q, {type, rows.data() + k * stride, stride}, {&one, 1});
    EXPECT_EQ(std::memcmp(&one, &all[k], sizeof one), 0) << k;
  }
}

INSTANTIATE_TEST_SUITE_P(TypesAndDims, StoredAttention,
                         testing::Values(Case{DType::kF32, 64, 1e-6}, Case{DType::kF32, 7, 1e-6},
                                         Case{DType::kF16, 64, 1e-3}, Case{DType::kF16, 576, 1e-3},
                                         Case{DType::kF16, 24, 1e-3}, Case{DType::kQ8_0, 128, 1e-2},
                                         Case{DType::kQ8_0, 40, 1e-2}, Case{DType::kQ8_0, 576, 1e-2}));

}  // namespace
}  // namespace junto
