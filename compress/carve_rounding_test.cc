#include "compress/carve_rounding.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "base/random.h"
#include "tensor/block_formats.h"
#include "tensor/half.h"

namespace junto {
namespace {

constexpr std::int64_t kTokens = 512, kWidth = 48, kHidden = 96;

Matrix<float> random_down() {
  Matrix<float> down(kHidden, kWidth);
  Random random(11);
  for (float& value : down.values) value = random.uniform() - 0.5f;
  return down;
}

BlockSample sample_of(const std::function<float(std::int64_t t, std::int64_t n)>& activation) {
  BlockSample sample{.block = 0, .tokens = kTokens, .hidden_size = kHidden, .width = kWidth};
  for (std::int64_t t = 0; t < kTokens; ++t) {
    for (std::int64_t n = 0; n < kWidth; ++n) sample.hidden.push_back(float_to_bf16(activation(t, n)));
    sample.stream_squares.push_back(1.0f);
  }
  return sample;
}

// Every neuron follows three causes, and a little noise of its own.
BlockSample related_neurons() {
  Random random(12);
  Matrix<float> causes(kTokens, 3), shares(kWidth, 3);
  for (float& value : causes.values) value = random.uniform() - 0.5f;
  for (float& value : shares.values) value = random.uniform() - 0.5f;
  return sample_of([&](std::int64_t t, std::int64_t n) {
    float sum = 0.02f * random.uniform();
    for (int c = 0; c < 3; ++c) sum += causes.view().at(t, c) * shares.view().at(n, c);
    return sum;
  });
}

Tensor encoded_as_it_is(MatrixView<const float> down, DType type) {
  auto bytes = std::make_shared<std::vector<std::byte>>(bytes_of(type, down.rows) * kWidth);
  for (std::int64_t n = 0; n < kWidth; ++n) {
    std::vector<float> column;
    for (std::int64_t r = 0; r < down.rows; ++r) column.push_back(down.at(r, n));
    encode_values(type, column, bytes->data() + static_cast<std::size_t>(n) * bytes_of(type, down.rows));
  }
  return {type, {kWidth, down.rows}, *bytes, bytes};
}

// Squares of what the errors of all neurons put out together, over the sample.
double output_error(const BlockSample& sample, MatrixView<const float> down, const Tensor& columns) {
  const std::vector<float> rounded = decode(columns);
  double squares = 0;
  for (std::int64_t t = 0; t < kTokens; ++t) {
    for (std::int64_t r = 0; r < kHidden; ++r) {
      double sum = 0;
      for (std::int64_t n = 0; n < kWidth; ++n)
        sum += bf16_to_float(sample.hidden[t * kWidth + n]) * (rounded[n * kHidden + r] - down.at(r, n));
      squares += sum * sum;
    }
  }
  return squares;
}

class CarveRounding : public testing::TestWithParam<DType> {};

TEST_P(CarveRounding, ErrorsOfRelatedNeuronsCancel) {
  ThreadPool pool(2);
  const BlockSample sample = related_neurons();
  const Matrix<float> down = random_down();
  const double plain = output_error(sample, down.view(), encoded_as_it_is(down.view(), GetParam()));
  EXPECT_LT(output_error(sample, down.view(), round_columns(sample, down.view(), GetParam(), pool)), 0.2 * plain);
}

TEST_P(CarveRounding, NeuronsThatNeverSpeakTogetherAreEncodedAsTheyAre) {
  ThreadPool pool(2);
  const BlockSample sample =
      sample_of([](std::int64_t t, std::int64_t n) { return t % kWidth == n ? 1.0f + static_cast<float>(n) : 0.0f; });
  const Matrix<float> down = random_down();
  EXPECT_TRUE(std::ranges::equal(round_columns(sample, down.view(), GetParam(), pool).bytes,
                                 encoded_as_it_is(down.view(), GetParam()).bytes));
}

TEST_P(CarveRounding, TheSameBytesWhateverTheThreads) {
  ThreadPool one(1), two(2);
  const BlockSample sample = related_neurons();
  const Matrix<float> down = random_down();
  EXPECT_TRUE(std::ranges::equal(round_columns(sample, down.view(), GetParam(), one).bytes,
                                 round_columns(sample, down.view(), GetParam(), two).bytes));
}

INSTANTIATE_TEST_SUITE_P(BlockFormats, CarveRounding, testing::Values(DType::kQ8_0, DType::kQ4_1, DType::kQ4_0),
                         [](const auto& type) { return std::string(dtype_name(type.param)); });

TEST(CarveRounding, ATypeWithoutBlocksIsEncodedAsItIs) {
  ThreadPool pool(1);
  const Matrix<float> down = random_down();
  EXPECT_TRUE(std::ranges::equal(round_columns(related_neurons(), down.view(), DType::kF16, pool).bytes,
                                 encoded_as_it_is(down.view(), DType::kF16).bytes));
}

}  // namespace
}  // namespace junto
