#include "kernels/norm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "kernels/rotate.h"

namespace junto {
namespace {

std::vector<float> random_values(std::size_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.3f, 2.0f);
  std::vector<float> values(count);
  for (float& value : values) value = normal(generator);
  return values;
}

TEST(Norm, RmsMatchesDouble) {
  for (const std::size_t size : {1, 15, 16, 17, 64, 577}) {
    const std::vector<float> x = random_values(size, 1), weight = random_values(size, 2);
    std::vector<float> out(size);
    rms_norm(x, weight, 1e-5f, out);
    double square = 0;
    for (const float value : x) square += double(value) * value;
    for (std::size_t i = 0; i < size; ++i) {
      EXPECT_NEAR(out[i], x[i] / std::sqrt(square / size + 1e-5) * weight[i], 1e-4);
    }
  }
}

TEST(Norm, LayerMatchesDoubleAndMayBeInPlace) {
  const std::size_t size = 100;
  const std::vector<float> x = random_values(size, 3), weight = random_values(size, 4), bias = random_values(size, 5);
  std::vector<float> out = x;
  layer_norm(out, weight, bias, 1e-5f, out);
  double mean = 0, variance = 0;
  for (const float value : x) mean += value / double(size);
  for (const float value : x) variance += (value - mean) * (value - mean) / size;
  for (std::size_t i = 0; i < size; ++i) {
    EXPECT_NEAR(out[i], (x[i] - mean) / std::sqrt(variance + 1e-5) * weight[i] + bias[i], 1e-4);
  }
}

TEST(Rotate, BothStylesTurnTheirPairsAndLeaveTheRest) {
  const std::vector<float> cosines = {std::cos(0.5f), std::cos(1.0f)}, sines = {std::sin(0.5f), std::sin(1.0f)};
  std::vector<float> halves = {1, 0, 0, 1, 9}, neighbours = {1, 0, 0, 1, 9};
  rotate_halves(halves, cosines, sines);
  rotate_neighbours(neighbours, cosines, sines);
  EXPECT_FLOAT_EQ(halves[0], std::cos(0.5f));
  EXPECT_FLOAT_EQ(halves[2], std::sin(0.5f));
  EXPECT_FLOAT_EQ(halves[1], -std::sin(1.0f));
  EXPECT_FLOAT_EQ(halves[3], std::cos(1.0f));
  EXPECT_FLOAT_EQ(neighbours[0], std::cos(0.5f));
  EXPECT_FLOAT_EQ(neighbours[1], std::sin(0.5f));
  EXPECT_FLOAT_EQ(neighbours[2], -std::sin(1.0f));
  EXPECT_FLOAT_EQ(neighbours[3], std::cos(1.0f));
  EXPECT_EQ(halves[4], 9);
  EXPECT_EQ(neighbours[4], 9);
}

}  // namespace
}  // namespace junto
