#include "train/nn/project.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <array>
#include <vector>

namespace junto {
namespace {

struct Projected {
  at::Tensor out, d_x, d_weight;
};

template <class Function>
Projected run_projection(const Function& function, at::Tensor x, at::Tensor weight, const at::Tensor& upstream) {
  x.mutable_grad() = weight.mutable_grad() = at::Tensor();
  const at::Tensor out = function(x, weight);
  out.backward(upstream);
  return {out.detach(), x.grad(), weight.grad()};
}

// Sizes of one block and of several with rests, and an input that is a view.
TEST(Project, IsTheProduct) {
  at::manual_seed(1);
  for (const auto& [rows, N, D] : std::vector<std::array<std::int64_t, 3>>{
           {1, 1, 1}, {7, 8, 12}, {300, 64, 48}, {513, 1040, 30}, {130, 259, 100}}) {
    for (const at::ScalarType type : {at::kDouble, at::kFloat}) {
      const at::Tensor x = at::randn({rows, D}, type).set_requires_grad(true);
      const at::Tensor weight = at::randn({N, D}, type).set_requires_grad(true), upstream = at::randn({rows, N}, type);
      const Projected found = run_projection(project, x, weight, upstream);
      const Projected expected = run_projection(
          [](const at::Tensor& a, const at::Tensor& w) { return at::mm(a, w.t()); }, x, weight, upstream);
      const double tolerance = type == at::kDouble ? 1e-11 : 2e-4;
      EXPECT_TRUE(at::allclose(found.out, expected.out, tolerance, tolerance)) << rows << " " << N << " " << D;
      EXPECT_TRUE(at::allclose(found.d_x, expected.d_x, tolerance, tolerance)) << rows << " " << N << " " << D;
      EXPECT_TRUE(at::allclose(found.d_weight, expected.d_weight, tolerance, tolerance))
          << rows << " " << N << " " << D;
    }
  }
}

TEST(Project, BitsDoNotDependOnThreadsAndWhatIsFrozenGetsNoGradient) {
  const at::Tensor x = at::randn({301, 40}).set_requires_grad(true),
                   weight = at::randn({272, 40}).set_requires_grad(true);
  const at::Tensor upstream = at::randn({301, 272});
  const int threads = omp_get_max_threads();
  std::vector<Projected> runs;
  for (const int count : {1, 3}) {
    omp_set_num_threads(count);
    runs.push_back(run_projection(project, x, weight, upstream));
  }
  omp_set_num_threads(threads);
  EXPECT_TRUE(at::equal(runs[0].out, runs[1].out));
  EXPECT_TRUE(at::equal(runs[0].d_x, runs[1].d_x));
  EXPECT_TRUE(at::equal(runs[0].d_weight, runs[1].d_weight));
  const at::Tensor still = at::randn({16, 40}), other = at::randn({301, 40}).set_requires_grad(true);
  project(other, still).sum().backward();
  EXPECT_TRUE(other.grad().defined());
  EXPECT_FALSE(still.grad().defined());
}

TEST(Project, WrongShapesAreRefusedAndNoRowsAreNone) {
  EXPECT_THROW(project(at::ones({2, 3}), at::ones({4, 2})), c10::Error);
  EXPECT_THROW(project(at::ones({2, 3}), at::ones({4, 3}, at::kDouble)), c10::Error);
  EXPECT_EQ(project(at::ones({0, 3}), at::ones({4, 3})).sizes(), (std::vector<std::int64_t>{0, 4}));
}

}  // namespace
}  // namespace junto
