#include "train/nn/attention.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <limits>
#include <vector>

namespace junto {
namespace {

struct AttentionCase {
  AttentionShape shape;
  at::Tensor q, k, v, cosine, sine;

  std::vector<at::Tensor> leaves() const { return {q, k, v}; }
  at::Tensor run() const { return causal_attention(q, k, v, cosine, sine, shape); }
};

AttentionCase random_case(const AttentionShape& shape, at::ScalarType type, bool turned = true) {
  AttentionCase made{.shape = shape, .q = {}, .k = {}, .v = {}, .cosine = {}, .sine = {}};
  const std::int64_t rows = shape.sequences * shape.length;
  const auto leaf = [&](std::int64_t heads) {
    return at::randn({rows, heads * shape.head_dim}, at::kDouble).to(type).set_requires_grad(true);
  };
  made.q = leaf(shape.heads), made.k = leaf(shape.kv_heads), made.v = leaf(shape.kv_heads);
  if (!turned) return made;
  const at::Tensor angles = at::rand({shape.length + 2, shape.head_dim / 2}, at::kDouble) * 7;
  made.cosine = angles.cos().to(type), made.sine = angles.sin().to(type);
  return made;
}

/// Operation by operation: halves turned, keys and values repeated, all pairs, the later ones masked.
at::Tensor attention_of_operations(const AttentionCase& c) {
  const AttentionShape& n = c.shape;
  const auto heads_of = [&](const at::Tensor& rows, std::int64_t heads) {
    return rows.view({n.sequences, n.length, heads, n.head_dim}).transpose(1, 2);
  };
  const auto turned = [&](const at::Tensor& x) {
    if (!c.cosine.defined()) return x;
    const at::Tensor cosine = c.cosine.narrow(0, 0, n.length), sine = c.sine.narrow(0, 0, n.length);
    const at::Tensor first = x.narrow(3, 0, n.head_dim / 2), second = x.narrow(3, n.head_dim / 2, n.head_dim / 2);
    return at::cat({first * cosine - second * sine, second * cosine + first * sine}, 3);
  };
  const auto repeated = [&](const at::Tensor& x) { return x.repeat_interleave(n.heads / n.kv_heads, 1); };
  const at::Tensor q = turned(heads_of(c.q, n.heads)), k = repeated(turned(heads_of(c.k, n.kv_heads)));
  const at::Tensor scores = at::matmul(q, k.transpose(2, 3)) / std::sqrt(static_cast<double>(n.head_dim));
  const at::Tensor later = at::ones({n.length, n.length}, at::kBool).triu(1);
  const at::Tensor weights = at::softmax(scores.masked_fill(later, -std::numeric_limits<double>::infinity()), 3);
  return at::matmul(weights, repeated(heads_of(c.v, n.kv_heads)))
      .transpose(1, 2)
      .reshape({n.sequences * n.length, n.heads * n.head_dim});
}

/// Result, then gradients.
std::vector<at::Tensor> computed(const AttentionCase& c, const at::Tensor& upstream, bool operations = false) {
  for (at::Tensor leaf : c.leaves()) leaf.mutable_grad() = at::Tensor();
  const at::Tensor out = operations ? attention_of_operations(c) : c.run();
  out.backward(upstream);
  std::vector<at::Tensor> all = {out.detach()};
  for (const at::Tensor& leaf : c.leaves()) all.push_back(leaf.grad());
  return all;
}

/// The largest difference as a share of the largest value; of 1 where all are smaller: with one position gradients are
/// 0.
double farthest(const at::Tensor& found, const at::Tensor& expected) {
  return ((found - expected).abs().max() / expected.abs().max().clamp_min(1.0)).item<double>();
}

// Lengths of one, of a block, of several with a rest; keys of one head for all, for some, for each.
TEST(CausalAttention, IsItsOperations) {
  at::manual_seed(1);
  const std::vector<AttentionShape> shapes = {
      {.sequences = 1, .length = 1, .heads = 1, .kv_heads = 1, .head_dim = 2},
      {.sequences = 3, .length = 7, .heads = 4, .kv_heads = 2, .head_dim = 6},
      {.sequences = 2, .length = 64, .heads = 2, .kv_heads = 2, .head_dim = 32},
      {.sequences = 1, .length = 65, .heads = 6, .kv_heads = 2, .head_dim = 10},
      {.sequences = 2, .length = 201, .heads = 3, .kv_heads = 1, .head_dim = 16},
      {.sequences = 2, .length = 256, .heads = 2, .kv_heads = 2, .head_dim = 64}};
  for (const AttentionShape& shape : shapes) {
    for (const at::ScalarType type : {at::kDouble, at::kFloat}) {
      for (const bool turned : {true, false}) {
        const AttentionCase c = random_case(shape, type, turned);
        const at::Tensor upstream = at::randn_like(c.q.detach());
        const std::vector<at::Tensor> found = computed(c, upstream), expected = computed(c, upstream, true);
        for (std::size_t i = 0; i < found.size(); ++i) {
          EXPECT_LE(farthest(found[i], expected[i]), type == at::kDouble ? 1e-12 : 3e-6)
              << "tensor " << i << ", length " << shape.length << ", heads " << shape.heads << ", " << type;
        }
      }
    }
  }
}

TEST(CausalAttention, GradientsAreDifferences) {
  at::manual_seed(2);
  const AttentionCase c =
      random_case({.sequences = 2, .length = 5, .heads = 4, .kv_heads = 2, .head_dim = 4}, at::kDouble);
  const at::Tensor upstream = at::randn_like(c.q.detach());
  computed(c, upstream);
  const at::NoGradGuard guard;
  for (const at::Tensor& leaf : c.leaves()) {
    double* values = leaf.data_ptr<double>();
    for (std::int64_t i = 0; i < leaf.numel(); ++i) {
      const double kept = values[i], step = 1e-5;
      values[i] = kept + step;
      const double above = (c.run() * upstream).sum().item<double>();
      values[i] = kept - step;
      const double below = (c.run() * upstream).sum().item<double>();
      values[i] = kept;
      ASSERT_NEAR(leaf.grad().data_ptr<double>()[i], (above - below) / (2 * step), 1e-8) << i;
    }
  }
}

TEST(CausalAttention, ScoresOfAnySizeAreFinite) {
  AttentionCase c = random_case({.sequences = 1, .length = 70, .heads = 1, .kv_heads = 1, .head_dim = 8}, at::kFloat);
  c.q = (c.q.detach() * 1e4).set_requires_grad(true);
  const at::Tensor upstream = at::ones_like(c.q.detach());
  const std::vector<at::Tensor> found = computed(c, upstream), expected = computed(c, upstream, true);
  EXPECT_LE(farthest(found[0], expected[0]), 1e-3);
  for (const at::Tensor& tensor : found) EXPECT_TRUE(at::isfinite(tensor).all().item<bool>());
}

TEST(CausalAttention, BitsDoNotDependOnThreadsNorOnWhatWentBefore) {
  at::manual_seed(3);
  const AttentionCase c =
      random_case({.sequences = 3, .length = 130, .heads = 4, .kv_heads = 2, .head_dim = 16}, at::kFloat);
  const at::Tensor upstream = at::randn_like(c.q.detach());
  const int threads = omp_get_max_threads();
  std::vector<std::vector<at::Tensor>> runs;
  for (const int count : {1, 3, 1}) {
    omp_set_num_threads(count);
    runs.push_back(computed(c, upstream));
  }
  omp_set_num_threads(threads);
  for (std::size_t i = 0; i < runs[0].size(); ++i) {
    EXPECT_TRUE(at::equal(runs[0][i], runs[1][i])) << i;
    EXPECT_TRUE(at::equal(runs[0][i], runs[2][i])) << i;
  }
}

TEST(CausalAttention, WrongShapesAreRefused) {
  const AttentionCase c = random_case({.length = 4, .heads = 2, .kv_heads = 2, .head_dim = 4}, at::kFloat);
  AttentionShape other = c.shape;
  other.kv_heads = 1;
  EXPECT_THROW(causal_attention(c.q, c.k, c.v, c.cosine, c.sine, other), c10::Error);
  EXPECT_THROW(causal_attention(c.q, c.k, c.v, c.cosine, at::Tensor(), c.shape), c10::Error);
  EXPECT_THROW(causal_attention(c.q, c.k, c.v, c.cosine.narrow(0, 0, 3), c.sine, c.shape), c10::Error);
  EXPECT_THROW(causal_attention(c.q, c.k.to(at::kDouble), c.v, c.cosine, c.sine, c.shape), c10::Error);
}

}  // namespace
}  // namespace junto
