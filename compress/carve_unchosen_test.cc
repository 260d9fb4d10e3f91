// What unchosen experts leave: least squares over the sum of those that are absent together.
#include "compress/carve_unchosen.h"

#include <gtest/gtest.h>

#include "base/random.h"
#include "tensor/half.h"

namespace junto {
namespace {

constexpr std::int64_t kTokens = 300, kWidth = 6, kHidden = 4;
const std::vector<std::vector<std::int32_t>> kPairs = {{0, 3}, {1, 4}, {2, 5}};

struct Case {
  BlockSample sample{.block = 0, .tokens = kTokens, .hidden_size = kHidden, .width = kWidth};
  Matrix<float> down{kHidden, kWidth};
  Matrix<float> chosen{3, kTokens};  // at none, one or both of two shares

  explicit Case(bool constant) {
    Random random(9);
    for (float& value : down.values) value = static_cast<float>(random.uniform()) - 0.5f;
    for (std::int64_t t = 0; t < kTokens; ++t) {
      for (std::int64_t n = 0; n < kWidth; ++n)
        sample.hidden.push_back(
            float_to_bf16(constant ? static_cast<float>(n + 1) : static_cast<float>(random.uniform())));
      sample.stream_squares.push_back(0.5f + static_cast<float>(random.uniform()));
      for (int e = 0; e < 3; ++e) chosen.view().at(e, t) = 0.5f * static_cast<float>(random.next() % 3);
    }
  }
  double hidden(std::int64_t t, std::int64_t n) const { return bf16_to_float(sample.hidden[t * kWidth + n]); }
  double output(std::int64_t t, int e, std::int64_t d) const {
    double sum = 0;
    for (const std::int32_t n : kPairs[e]) sum += down.view().at(d, n) * hidden(t, n);
    return sum;
  }
  // The error that fit_unchosen_outputs() is to make small.
  double error(MatrixView<const float> left) const {
    double sum = 0;
    for (const float least : {0.25f, 0.75f}) {  // has the expert at one share; at both
      for (std::int64_t t = 0; t < kTokens; ++t) {
        for (std::int64_t d = 0; d < kHidden; ++d) {
          double miss = 0;
          for (int e = 0; e < 3; ++e) {
            if (chosen.view().at(e, t) < least) miss += output(t, e, d) - left.at(e, d);
          }
          sum += miss * miss / sample.stream_squares[t];
        }
      }
    }
    return sum;
  }
};

TEST(CarveUnchosen, ConstantExpertsLeaveWhatTheyPutOut) {
  const Case c(true);
  ThreadPool pool(2);
  const Matrix<float> left = fit_unchosen_outputs(c.sample, c.down.view(), kPairs, c.chosen.view(), 2, pool);
  for (int e = 0; e < 3; ++e) {
    for (std::int64_t d = 0; d < kHidden; ++d) EXPECT_NEAR(left.view().at(e, d), c.output(0, e, d), 5e-3);
  }
}

TEST(CarveUnchosen, NoChangeOfAConstantMakesTheErrorSmaller) {
  const Case c(false);
  ThreadPool pool(1);
  Matrix<float> left = fit_unchosen_outputs(c.sample, c.down.view(), kPairs, c.chosen.view(), 2, pool);
  const double least = c.error(std::as_const(left).view());
  for (float& value : left.values) {
    for (const float change : {0.02f, -0.02f}) {
      value += change;
      EXPECT_GT(c.error(std::as_const(left).view()), least);
      value -= change;
    }
  }
}

}  // namespace
}  // namespace junto
