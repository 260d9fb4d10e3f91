#include "train/nn/rms_norm.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <vector>

namespace junto {
namespace {

constexpr double kEps = 1e-3;

at::Tensor norm_of_operations(const at::Tensor& x, const at::Tensor& weight) {
  return x * at::rsqrt(x.square().mean(-1, /*keepdim=*/true) + kEps) * weight;
}

struct NormRun {
  at::Tensor out, d_x, d_weight;
};

template <class Function>
NormRun run_norm(const Function& norm, at::Tensor x, at::Tensor weight, const at::Tensor& upstream) {
  x.mutable_grad() = weight.mutable_grad() = at::Tensor();
  const at::Tensor out = norm(x, weight);
  out.backward(upstream);
  return {out.detach(), x.grad(), weight.grad()};
}

TEST(RmsNorm, IsItsOperations) {
  at::manual_seed(1);
  for (const std::vector<std::int64_t>& sizes :
       std::vector<std::vector<std::int64_t>>{{1, 1}, {3, 5}, {200, 64}, {2, 65, 3, 40}, {5, 256}}) {
    for (const at::ScalarType type : {at::kDouble, at::kFloat}) {
      const at::Tensor x = (at::randn(sizes, at::kDouble) * 3).to(type).set_requires_grad(true);
      const at::Tensor weight = at::randn({sizes.back()}, at::kDouble).to(type).set_requires_grad(true);
      const at::Tensor upstream = at::randn(sizes, at::kDouble).to(type);
      const NormRun found =
          run_norm([](const at::Tensor& a, const at::Tensor& w) { return rms_norm(a, w, kEps); }, x, weight, upstream);
      const NormRun expected = run_norm(norm_of_operations, x, weight, upstream);
      const double tolerance = type == at::kDouble ? 1e-12 : 1e-5;
      EXPECT_TRUE(at::allclose(found.out, expected.out, tolerance, tolerance)) << x.sizes();
      EXPECT_TRUE(at::allclose(found.d_x, expected.d_x, tolerance, tolerance)) << x.sizes();
      EXPECT_TRUE(at::allclose(found.d_weight, expected.d_weight, tolerance, tolerance)) << x.sizes();
    }
  }
}

TEST(RmsNorm, GradientsAreDifferences) {
  at::manual_seed(2);
  const at::Tensor x = at::randn({3, 5}, at::kDouble).set_requires_grad(true);
  const at::Tensor weight = at::randn({5}, at::kDouble).set_requires_grad(true),
                   upstream = at::randn({3, 5}, at::kDouble);
  rms_norm(x, weight, kEps).backward(upstream);
  const at::NoGradGuard guard;
  for (const at::Tensor& leaf : {x, weight}) {
    double* values = leaf.data_ptr<double>();
    for (std::int64_t i = 0; i < leaf.numel(); ++i) {
      const double kept = values[i], step = 1e-5;
      values[i] = kept + step;
      const double above = (rms_norm(x, weight, kEps) * upstream).sum().item<double>();
      values[i] = kept - step;
      const double below = (rms_norm(x, weight, kEps) * upstream).sum().item<double>();
      values[i] = kept;
      ASSERT_NEAR(leaf.grad().data_ptr<double>()[i], (above - below) / (2 * step), 1e-8) << i;
    }
  }
}

TEST(RmsNorm, BitsDoNotDependOnThreads) {
  const at::Tensor x = at::randn({333, 48}).set_requires_grad(true), weight = at::randn({48}).set_requires_grad(true);
  const at::Tensor upstream = at::randn({333, 48});
  const int threads = omp_get_max_threads();
  std::vector<NormRun> runs;
  for (const int count : {1, 3}) {
    omp_set_num_threads(count);
    runs.push_back(
        run_norm([](const at::Tensor& a, const at::Tensor& w) { return rms_norm(a, w, kEps); }, x, weight, upstream));
  }
  omp_set_num_threads(threads);
  EXPECT_TRUE(at::equal(runs[0].out, runs[1].out));
  EXPECT_TRUE(at::equal(runs[0].d_x, runs[1].d_x));
  EXPECT_TRUE(at::equal(runs[0].d_weight, runs[1].d_weight));
}

TEST(RmsNorm, WrongShapesAreRefused) {
  EXPECT_THROW(rms_norm(at::ones({2, 3}), at::ones({2}), kEps), c10::Error);
  EXPECT_THROW(rms_norm(at::ones({2, 3}), at::ones({3}, at::kDouble), kEps), c10::Error);
}

}  // namespace
}  // namespace junto
