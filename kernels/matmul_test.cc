#include "kernels/matmul.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "base/error.h"
#include "tensor/block_formats.h"

namespace junto {
namespace {

std::vector<float> random_values(std::size_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(generator);
  return values;
}

WeightMatrix random_weights(DType type, std::int64_t rows, std::int64_t cols, unsigned seed) {
  const std::vector<float> values = random_values(static_cast<std::size_t>(rows * cols), seed);
  auto bytes = std::make_shared<std::vector<std::byte>>(bytes_of(type, rows * cols));
  encode_values(type, values, bytes->data());
  return make_weights({type, {rows, cols}, *bytes, bytes});
}

std::vector<DType> weight_types() {
  std::vector<DType> types;
  for (const BlockFormat& format : block_formats()) {
    if (format.encode != nullptr) types.push_back(format.type);
  }
  return types;
}

// Relative difference of `out` from the double product of what the kernel was given.
double error_of(const WeightMatrix& w, const ActivationRows& x, MatrixView<const float> out) {
  std::vector<float> row(static_cast<std::size_t>(w.cols));
  double miss = 0, size = 0;
  for (std::int64_t n = 0; n < w.rows; ++n) {
    decode_values(w.type, w.data + static_cast<std::size_t>(n) * w.row_bytes, row);
    for (std::int64_t m = 0; m < x.rows(); ++m) {
      double sum = 0;
      for (std::int64_t k = 0; k < w.cols; ++k) {
        const bool q8 = x.has_q8() && is_quantised(w.type);
        const double value =
            q8 ? static_cast<double>(x.q8_scales(m)[k / 32]) * x.q8(m)[k] : static_cast<double>(x.floats().at(m, k));
        sum += value * row[static_cast<std::size_t>(k)];
      }
      miss += (out.at(m, n) - sum) * (out.at(m, n) - sum);
      size += sum * sum;
    }
  }
  return std::sqrt(miss / size);
}

TEST(Matmul, EveryTypeAgreesWithTheProductOfDecodedValues) {
  for (const DType type : weight_types()) {
    const WeightMatrix w = random_weights(type, 37, 512, 1);
    const std::vector<float> values = random_values(5 * 512, 2);
    ActivationRows x;
    x.assign({values.data(), 5, 512});
    Matrix<float> out(5, 37);
    for (const bool q8 : {false, true}) {
      if (q8) x.quantise_all();
      matmul(w, {0, 37}, x, {}, out.view(), {});
      EXPECT_LT(error_of(w, x, out.view()), 1e-6) << dtype_name(type) << (q8 ? " q8" : " f32");
    }
  }
}

TEST(Matmul, ARowsBitsDependOnNothingElse) {
  for (const DType type : weight_types()) {
    const WeightMatrix w = random_weights(type, 70, 768, 3);
    const std::vector<float> values = random_values(21 * 768, 4);
    ActivationRows x;
    x.assign({values.data(), 21, 768});
    for (const bool q8 : {false, true}) {
      if (q8) x.quantise_all();
      Matrix<float> whole(21, 70), part(40, 70);
      matmul(w, {0, 70}, x, {}, whole.view(), {});
      std::mt19937 generator(5);
      for (int trial = 0; trial < 30; ++trial) {
        RowRange range{static_cast<std::int64_t>(generator() % 70), 70};
        range.end = range.begin + 1 + static_cast<std::int64_t>(generator()) % (70 - range.begin);
        std::vector<std::int32_t> from, to;
        for (int i = 0; i < 40; ++i) {
          if (generator() % 3 == 0) {
            from.push_back(static_cast<std::int32_t>(generator() % 21));
            to.push_back(39 - i);
          }
        }
        if (from.empty()) continue;
        matmul(w, range, x, from, part.view(), to);
        for (std::size_t i = 0; i < from.size(); ++i) {
          ASSERT_EQ(std::memcmp(&whole.view().at(from[i], range.begin), &part.view().at(to[i], range.begin),
                                static_cast<std::size_t>(range.end - range.begin) * sizeof(float)),
                    0)
              << dtype_name(type);
        }
      }
    }
  }
}

TEST(Matmul, FloatWeightsTakeAnyWidth) {
  for (const std::int64_t cols : {1, 7, 33, 300}) {
    const WeightMatrix w = random_weights(DType::kF32, 5, cols, 6);
    const std::vector<float> values = random_values(static_cast<std::size_t>(3 * cols), 7);
    ActivationRows x;
    x.assign({values.data(), 3, cols});
    Matrix<float> out(3, 5);
    matmul(w, {0, 5}, x, {}, out.view(), {});
    EXPECT_LT(error_of(w, x, out.view()), 1e-6) << cols;
  }
}

TEST(Matmul, RefusesWhatIsNoMatrixOfNumbers) {
  EXPECT_THROW(make_weights(make_tensor({4}, {1, 2, 3, 4})), Error);
  const std::vector<std::byte> bytes(1024);
  EXPECT_THROW(make_weights({DType::kQ4_0, {2, 48}, bytes, nullptr}), Error);
  EXPECT_THROW(make_weights({DType::kQ4_0, {64, 64}, bytes, nullptr}), Error);
  EXPECT_THROW(make_weights({DType::kI32, {2, 2}, bytes, nullptr}), Error);
}

TEST(ActivationRows, QuantisesPerGroupOf32AndPadsWithZeros) {
  std::vector<float> values = random_values(2 * 40, 8);
  values[3] = 5.0f;
  ActivationRows x;
  x.assign({values.data(), 2, 40});
  x.quantise_all();
  ASSERT_EQ(x.q8_stride(), 256);
  EXPECT_EQ(x.q8(0)[3], 127);
  EXPECT_FLOAT_EQ(x.q8_scales(0)[0], 5.0f / 127);
  for (std::int64_t r = 0; r < 2; ++r) {
    std::int32_t sums[16] = {};
    for (std::int64_t k = 0; k < 256; ++k) {
      sums[k / 16] += x.q8(r)[k];
      if (k < 40) {
        EXPECT_NEAR(x.q8_scales(r)[k / 32] * x.q8(r)[k], values[static_cast<std::size_t>(r * 40 + k)],
                    0.501f * x.q8_scales(r)[k / 32]);
      } else {
        EXPECT_EQ(x.q8(r)[k], 0);
      }
    }
    EXPECT_EQ(std::memcmp(sums, x.q8_sums(r), sizeof sums), 0);
    EXPECT_EQ(x.q8_scales(r)[7], 0.0f);
  }
}

TEST(ActivationRows, NonFiniteValuesShowInTheResultAndTinyOnesAreZero) {
  const WeightMatrix w = random_weights(DType::kQ4_0, 3, 64, 9);
  for (const float bad : {INFINITY, -INFINITY, NAN}) {
    std::vector<float> values = random_values(2 * 64, 10);
    values[33] = bad;
    ActivationRows x;
    x.assign({values.data(), 2, 64});
    x.quantise_all();
    Matrix<float> out(2, 3);
    matmul(w, {0, 3}, x, {}, out.view(), {});
    EXPECT_TRUE(std::isnan(out.view().at(0, 1)));
    EXPECT_TRUE(std::isfinite(out.view().at(1, 1)));
  }
  const std::vector<float> tiny(64, 1e-40f);
  ActivationRows x;
  x.assign({tiny.data(), 1, 64});
  x.quantise_all();
  EXPECT_EQ(x.q8_scales(0)[0], 0.0f);
  EXPECT_EQ(x.q8(0)[0], 0);
}

}  // namespace
}  // namespace junto
