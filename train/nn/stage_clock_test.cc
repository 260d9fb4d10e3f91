#include "train/nn/stage_clock.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace junto {
namespace {

/// y = x W x W ... with `products` products: what takes time.
at::Tensor chain(const at::Tensor& x, const at::Tensor& weight, int products) {
  at::Tensor out = x;
  for (int i = 0; i < products; ++i) out = at::mm(out, weight);
  return out;
}

TEST(StageClock, TakesTheStageForwardAndBackwardAndNothingElse) {
  at::manual_seed(1);
  at::Tensor x = at::randn({256, 256}), weight = at::randn({256, 256}) / 16;
  x.requires_grad_();
  weight.requires_grad_();
  StageClock clock, never;
  const auto stage = [&](const at::Tensor& rows) { return chain(rows, weight, 8); };
  const double begin = processor_seconds();
  // Before and after the stage as much again, and a branch around it, as a residual stream has.
  const at::Tensor before = chain(x, weight, 8);
  const double forward_begin = clock.seconds();
  const at::Tensor out = before + timed(&clock, before, stage);
  const double forward = clock.seconds() - forward_begin;
  EXPECT_GT(forward, 0.0);
  chain(out, weight, 8).sum().backward();
  const double all = processor_seconds() - begin;
  const double backward = clock.seconds() - forward;
  EXPECT_GT(backward, 1.2 * forward);  // two products for each one forward
  EXPECT_LT(clock.seconds(), 0.55 * all);
  EXPECT_GT(clock.seconds(), 0.15 * all);
  EXPECT_EQ(never.seconds(), 0.0);

  const at::Tensor d_x = x.grad().clone(), d_weight = weight.grad().clone();
  x.grad().zero_();
  weight.grad().zero_();
  const at::Tensor again = chain(x, weight, 8);
  const at::Tensor same = again + timed(nullptr, again, stage);
  EXPECT_TRUE(same.equal(out));
  chain(same, weight, 8).sum().backward();
  EXPECT_TRUE(x.grad().equal(d_x));
  EXPECT_TRUE(weight.grad().equal(d_weight));
}

TEST(StageClock, AStageThatDoesNotReadItsInputEndsNowhereAndIsLegal) {
  at::Tensor x = at::ones({2, 2});
  x.requires_grad_();
  StageClock clock;
  const at::Tensor out = x + timed(&clock, x, [](const at::Tensor& rows) { return at::zeros_like(rows); });
  out.sum().backward();
  const double seconds = clock.seconds();
  clock.stop();
  clock.stop();
  EXPECT_GE(clock.seconds(), seconds);
  EXPECT_TRUE(x.grad().equal(at::ones({2, 2})));
}

}  // namespace
}  // namespace junto
