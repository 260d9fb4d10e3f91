#include "moe/reuse_forecast.h"

#include <gtest/gtest.h>

#include <random>

namespace junto {
namespace {

TEST(ReuseForecast, LearnsWhatReuseIsWorth) {
  // One expert of eight a token: in the first model always the one before's neighbour, in the second mostly the same.
  const ExpertStages stages({8});
  ReuseForecast moves({8}, stages), stays({8}, stages);
  std::mt19937 random(1);
  int last = 0;
  for (int t = 0; t < 400; ++t) {
    moves.enter(0);
    moves.use(0, t % 8);
    if (random() % 10 == 0) last = static_cast<int>(random() % 8);
    stays.enter(0);
    stays.use(0, last);
  }
  EXPECT_LT(moves.chance(0, 399 % 8), 0.05);       // used just now: seven tokens before it comes again
  EXPECT_GT(moves.chance(0, (399 + 1) % 8), 0.2);  // used longest ago
  EXPECT_GT(stays.chance(0, last), 0.7);
  EXPECT_LT(stays.chance(0, (last + 1) % 8), 0.2);
}

TEST(ReuseForecast, NothingIsCertain) {
  ReuseForecast forecast({2}, ExpertStages({2}));
  for (int t = 0; t < 1000; ++t) {
    forecast.enter(0);
    forecast.use(0, 0);
  }
  EXPECT_GT(forecast.chance(0, 0), 0.99);
  EXPECT_LT(forecast.chance(0, 0), 1);
  EXPECT_GT(forecast.chance(0, 1), 0);
  EXPECT_LT(forecast.chance(0, 1), 0.01);
}

}  // namespace
}  // namespace junto
