#include "moe/linear.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "base/error.h"
#include "moe/test_random_linear.h"

namespace junto {
namespace {

/// The layer in double precision from its definition; `x` one row.
std::vector<double> reference(const Linear& linear, std::span<const float> x) {
  const std::int64_t n = linear.weights.rows, k = linear.weights.cols;
  const std::vector<float> w = decoded(linear.weights);
  std::vector<double> out(n, 0.0);
  const auto add_matrix = [&](const float* matrix, double factor) {
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t j = 0; j < k; ++j) out[i] += factor * matrix[i * k + j] * x[j];
    }
  };
  const auto add_low_rank = [&](const LowRank& low_rank, double weight) {
    for (std::int64_t r = 0; r < low_rank.rank; ++r) {
      double product = 0.0;
      for (std::int64_t j = 0; j < k; ++j) product += static_cast<double>(low_rank.a[r * k + j]) * x[j];
      for (std::int64_t i = 0; i < n; ++i)
        out[i] += weight * low_rank.scale * low_rank.b_transposed[r * n + i] * product;
    }
  };
  add_matrix(w.data(), 1.0);
  for (std::size_t i = 0; i < linear.bias.size(); ++i) out[i] += linear.bias[i];
  if (!linear.has_overlays()) return out;
  for (const Overlay& overlay : *linear.overlays) {
    if (const auto* low_rank = std::get_if<LowRank>(&overlay)) add_low_rank(*low_rank, 1.0);
    if (const auto* routed = std::get_if<RoutedLowRank>(&overlay)) {  // softmax, top 2, renormalised
      std::vector<std::pair<double, int>> logits;
      for (int e = 0; e < routed->spec.experts; ++e) {
        double logit = 0.0;
        for (std::int64_t j = 0; j < k; ++j) logit += static_cast<double>(routed->router[e * k + j]) * x[j];
        logits.emplace_back(-logit, e);
      }
      std::sort(logits.begin(), logits.end());
      const double first = 1.0 / (1.0 + std::exp(logits[0].first - logits[1].first));
      add_low_rank(routed->experts[logits[0].second], first);
      add_low_rank(routed->experts[logits[1].second], 1.0 - first);
    }
    if (const auto* delta = std::get_if<Delta>(&overlay)) {
      if (delta->row_begin.empty()) {
        add_matrix(delta->values.data(), 1.0);
        continue;
      }
      for (std::int64_t i = 0; i < n; ++i) {
        for (std::int64_t at = delta->row_begin[i]; at < delta->row_begin[i + 1]; ++at) {
          out[i] += static_cast<double>(delta->values[at]) * x[delta->column[at]];
        }
      }
    }
  }
  return out;
}

/// All kinds of overlays on one layer.
std::shared_ptr<const Overlays> all_overlays(std::int64_t n, std::int64_t k, std::mt19937& random) {
  RoutedLowRank routed{.spec = {.experts = 3, .select = TopK{2}, .weigh = Weigh::kRenormalised},
                       .router = random_values(3 * k, random),
                       .experts = {random_low_rank(1, n, k, random), random_low_rank(5, n, k, random),
                                   random_low_rank(2, n, k, random)}};
  Delta sparse{.values = {}, .row_begin = {0}, .column = {}};
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int32_t j = static_cast<std::int32_t>(i % 5); j < k; j += 11) {
      sparse.values.push_back(random_values(1, random)[0]);
      sparse.column.push_back(j);
    }
    sparse.row_begin.push_back(static_cast<std::int64_t>(sparse.values.size()));
  }
  Overlays overlays;
  overlays.emplace_back(random_low_rank(4, n, k, random));
  overlays.emplace_back(std::move(routed));
  overlays.emplace_back(Delta{.values = random_values(n * k, random), .row_begin = {}, .column = {}});
  overlays.emplace_back(std::move(sparse));
  return std::make_shared<const Overlays>(std::move(overlays));
}

TEST(Linear, AgreesWithTheDefinition) {
  std::mt19937 random(1);
  for (const DType type : {DType::kF32, DType::kF16, DType::kQ8_0, DType::kQ4_0}) {
    for (const bool with_overlays : {false, true}) {
      const std::int64_t n = 70, k = 96, rows = 9;
      Linear linear = random_linear(type, n, k, random);
      linear.bias = random_values(n, random);
      if (with_overlays) linear.overlays = all_overlays(n, k, random);
      check_linear(linear, "test");
      Matrix<float> x(rows, k), out(rows, n);
      x.values = random_values(rows * k, random);
      ActivationRows activations;
      activations.assign(x.view());
      ThreadPool pool(2);
      OverlayScratch scratch;
      apply(linear, activations, out.view(), pool, scratch);
      for (std::int64_t m = 0; m < rows; ++m) {
        const std::vector<double> expected = reference(linear, x.view().row(m));
        for (std::int64_t i = 0; i < n; ++i) EXPECT_NEAR(out.view().at(m, i), expected[i], 2e-4);
      }
    }
  }
}

TEST(Linear, RowsHaveTheSameBitsHoweverTheyAreCut) {
  std::mt19937 random(2);
  const std::int64_t n = 200, k = 64, rows = 13;
  Linear linear = random_linear(DType::kQ8_0, n, k, random);
  linear.bias = random_values(n, random);
  linear.overlays = all_overlays(n, k, random);
  Matrix<float> x(rows, k), whole(rows, n), parts(rows + 3, n);
  x.values = random_values(rows * k, random);
  for (const bool q8 : {false, true}) {
    ActivationRows activations;
    activations.assign(x.view());
    if (q8) activations.quantise_all();
    OverlayScratch scratch;
    ThreadPool one(1), three(3);
    apply(linear, activations, whole.view(), three, scratch);
    Matrix<float> again(rows, n);
    apply(linear, activations, again.view(), one, scratch);
    EXPECT_TRUE(same_bits(whole.values, again.values));
    // Rows in reverse, from and to other places, in uneven blocks of outputs.
    std::vector<std::int32_t> from(rows), to(rows);
    for (std::int64_t i = 0; i < rows; ++i) from[i] = static_cast<std::int32_t>(rows - 1 - i), to[i] = from[i] + 3;
    OverlayScratch other;
    prepare_overlays(linear, activations, from, three, other);
    const std::int64_t block = matmul_block_rows(linear.weights);
    for (std::int64_t begin = 0; begin < n; begin += block) {
      const RowRange range{begin, std::min(begin + block, n)};
      for (std::int64_t row = 0; row < rows; row += 4) {
        const std::int64_t count = std::min<std::int64_t>(4, rows - row);
        apply(linear, range, activations, std::span(from).subspan(row, count), parts.view(),
              std::span(to).subspan(row, count), other, row);
      }
    }
    EXPECT_TRUE(same_bits(whole.values, std::span(parts.values).subspan(3 * n)));
  }
}

TEST(Linear, ARouterWithoutCandidatesAddsNothing) {
  std::mt19937 random(3);
  const std::int64_t n = 8, k = 32;
  Linear plain = random_linear(DType::kF32, n, k, random), routed = plain;
  RoutedLowRank overlay{.spec = {.experts = 1, .select = Threshold{.threshold = 2.0f}},
                        .router = random_values(k, random),
                        .experts = {random_low_rank(2, n, k, random)}};
  routed.overlays = std::make_shared<const Overlays>(Overlays{overlay});
  Matrix<float> x(1, k), a(1, n), b(1, n);
  x.values = random_values(k, random);
  ActivationRows activations;
  activations.assign(x.view());
  ThreadPool pool(1);
  OverlayScratch scratch;
  apply(plain, activations, a.view(), pool, scratch);
  apply(routed, activations, b.view(), pool, scratch);
  EXPECT_EQ(a.values, b.values);
}

TEST(Linear, AdaptersAreReadAsTheyAreStored) {
  const Tensor a = make_tensor({2, 3}, {1, 2, 3, 4, 5, 6}), b = make_tensor({4, 2}, {1, 2, 3, 4, 5, 6, 7, 8});
  const LowRank low_rank = make_low_rank(a, b, 0.5f, "adapter");
  EXPECT_EQ(low_rank.rank, 2);
  EXPECT_EQ(low_rank.a, (std::vector<float>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(low_rank.b_transposed, (std::vector<float>{1, 3, 5, 7, 2, 4, 6, 8}));
  EXPECT_THROW(make_low_rank(a, make_tensor({4, 3}, std::vector<float>(12)), 1, "adapter"), Error);
  EXPECT_THROW(make_low_rank(a, make_tensor({8}, std::vector<float>(8)), 1, "adapter"), Error);
}

TEST(CheckLinear, MisfitsAreRefused) {
  std::mt19937 random(4);
  const std::int64_t n = 4, k = 32;
  const Linear good = random_linear(DType::kF32, n, k, random);
  const auto refused = [&](Overlay overlay) {
    Linear linear = good;
    linear.overlays = std::make_shared<const Overlays>(Overlays{std::move(overlay)});
    EXPECT_THROW(check_linear(linear, "test"), Error);
  };
  Linear biased = good;
  biased.bias = {1.0f};
  EXPECT_THROW(check_linear(biased, "test"), Error);
  refused(random_low_rank(2, n, k + 1, random));
  refused(random_low_rank(2, n + 1, k, random));
  refused(LowRank{});
  refused(Delta{.values = std::vector<float>(n * k - 1), .row_begin = {}, .column = {}});
  refused(Delta{.values = {1}, .row_begin = {0, 1, 1, 1}, .column = {0}});
  refused(Delta{.values = {1}, .row_begin = {0, 1, 1, 1, 2}, .column = {0}});
  refused(Delta{.values = {1}, .row_begin = {0, 1, 0, 1, 1}, .column = {0}});
  refused(Delta{.values = {1}, .row_begin = {0, 1, 1, 1, 1}, .column = {static_cast<std::int32_t>(k)}});
  refused(Delta{.values = {1}, .row_begin = {0, 1, 1, 1, 1}, .column = {-1}});
  refused(RoutedLowRank{.spec = {.experts = 2}, .router = std::vector<float>(2 * k), .experts = {}});
}

}  // namespace
}  // namespace junto
