#include "train/nn/token_loss.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace junto {
namespace {

TEST(TokenLoss, IsCrossEntropy) {
  at::manual_seed(1);
  for (const auto& [rows, width] : std::vector<std::pair<std::int64_t, std::int64_t>>{{1, 1}, {3, 5}, {70, 257}}) {
    for (const at::ScalarType type : {at::kDouble, at::kFloat}) {
      at::Tensor logits = (at::randn({rows, width}, at::kDouble) * 20).to(type).set_requires_grad(true);
      const at::Tensor targets = at::randint(width, {rows}, at::kLong);
      const double tolerance = type == at::kDouble ? 1e-12 : 1e-6;
      const at::Tensor expected = at::cross_entropy_loss(logits, targets);
      (expected * 0.25).backward();
      const at::Tensor gradient = logits.grad();
      logits.mutable_grad() = at::Tensor();
      const at::Tensor found = token_loss(logits, targets);
      (found * 0.25).backward();
      EXPECT_NEAR(found.item<double>(), expected.item<double>(), 10 * tolerance * (1 + expected.item<double>()));
      EXPECT_TRUE(at::allclose(logits.grad(), gradient, 1e-4, tolerance)) << rows << " " << width;
      const at::NoGradGuard guard;
      EXPECT_EQ(token_loss(logits, targets).item<double>(), found.item<double>());
    }
  }
}

TEST(TokenLoss, GradientsAreDifferences) {
  const at::Tensor logits = at::randn({3, 4}, at::kDouble).set_requires_grad(true);
  const at::Tensor targets = at::tensor({3, 0, 1}, at::kLong);
  token_loss(logits, targets).backward();
  const at::NoGradGuard guard;
  double* values = logits.data_ptr<double>();
  for (std::int64_t i = 0; i < logits.numel(); ++i) {
    const double kept = values[i], step = 1e-5;
    values[i] = kept + step;
    const double above = token_loss(logits, targets).item<double>();
    values[i] = kept - step;
    const double below = token_loss(logits, targets).item<double>();
    values[i] = kept;
    ASSERT_NEAR(logits.grad().data_ptr<double>()[i], (above - below) / (2 * step), 1e-9) << i;
  }
}

TEST(TokenLoss, WhatIsWrongIsRefused) {
  const at::Tensor logits = at::randn({2, 3}).set_requires_grad(true);
  EXPECT_THROW(token_loss(logits, at::tensor({0, 3}, at::kLong)), c10::Error);
  EXPECT_THROW(token_loss(logits, at::tensor({-1, 0}, at::kLong)), c10::Error);
  EXPECT_THROW(token_loss(logits, at::tensor({0}, at::kLong)), c10::Error);
  const at::Tensor loss = token_loss(logits, at::tensor({0, 2}, at::kLong));
  loss.backward({}, /*retain_graph=*/true);
  EXPECT_THROW(loss.backward(), c10::Error);
}

}  // namespace
}  // namespace junto
