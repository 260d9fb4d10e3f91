#include "generate/perplexity.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace junto {
namespace {

TEST(Perplexity, LikelihoodIsThatOfTheSoftmax) {
  const std::vector<float> logits = {1.0f, 2.0f, 3.0f};
  const double sum = std::exp(1.0) + std::exp(2.0) + std::exp(3.0);
  EXPECT_NEAR(negative_log_likelihood(logits, 0), -std::log(std::exp(1.0) / sum), 1e-12);
  EXPECT_NEAR(negative_log_likelihood(logits, 2), -std::log(std::exp(3.0) / sum), 1e-12);
}

TEST(Perplexity, LargeLogitsDoNotOverflow) {
  const std::vector<float> logits = {3e38f, 0.0f, 3e38f};
  EXPECT_NEAR(negative_log_likelihood(logits, 0), std::log(2.0), 1e-12);
}

TEST(Perplexity, DivergenceIsZeroForShiftedLogitsAndPositiveForOthers) {
  const std::vector<float> p = {1.0f, 2.0f, 3.0f}, shifted = {2.0f, 3.0f, 4.0f}, q = {3.0f, 2.0f, 1.0f};
  EXPECT_NEAR(kl_divergence(p, shifted), 0.0, 1e-12);
  const double sum = std::exp(1.0) + std::exp(2.0) + std::exp(3.0);
  // The probabilities are the same three numbers in reverse order, so the norms cancel.
  EXPECT_NEAR(kl_divergence(p, q), (std::exp(1.0) * -2 + std::exp(3.0) * 2) / sum, 1e-9);
}

}  // namespace
}  // namespace junto
