// Weights that lie by column: their products, whatever the layout, the range and the rows beside.
#include "kernels/columns.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "base/thread_pool.h"
#include "kernels/choose.h"
#include "kernels/interleave.h"
#include "kernels/matmul_kernels.h"
#include "kernels/matmul_twin.h"
#include "kernels/test_values.h"
#include "tensor/block_formats.h"

namespace junto {
namespace {

WeightMatrix random_columns(DType type, std::int64_t rows, std::int64_t cols, unsigned seed) {
  const std::vector<float> values = random_values(static_cast<std::size_t>(rows * cols), seed);
  auto bytes = std::make_shared<std::vector<std::byte>>(bytes_of(type, rows * cols));
  encode_values(type, values, bytes->data());
  return make_column_weights({type, {cols, rows}, *bytes, bytes});
}

std::vector<WeightMatrix> layouts_of(const WeightMatrix& stored) {
  ThreadPool pool(1);
  if (!has_column_blocks(stored.type)) return {stored};
  return {stored, interleave(stored, pool)};
}

constexpr DType kBlockTypes[] = {DType::kQ8_0, DType::kQ5_0, DType::kQ4_0};

TEST(Columns, AreTheRowsOfTheTransposedMatrix) {
  for (const DType type :
       {DType::kF32, DType::kF16, DType::kQ8_0, DType::kQ5_0, DType::kQ4_0, DType::kQ4_1, DType::kQ6_K}) {
    const std::int64_t rows = type == DType::kQ6_K ? 512 : 96, cols = 7;
    const WeightMatrix stored = random_columns(type, rows, cols, 1);
    EXPECT_EQ(stored.rows, rows);
    EXPECT_EQ(stored.bytes(), bytes_of(type, rows * cols));
    std::vector<float> column(static_cast<std::size_t>(rows)), row(static_cast<std::size_t>(cols));
    for (const WeightMatrix& w : layouts_of(stored)) {
      for (std::int64_t k = 0; k < cols; ++k) {
        decode_values(type, stored.data + static_cast<std::size_t>(k) * stored.row_bytes, column);
        for (std::int64_t r = 0; r < rows; ++r) {
          decode_row(w, r, row);
          ASSERT_EQ(row[static_cast<std::size_t>(k)], column[static_cast<std::size_t>(r)]) << dtype_name(type);
        }
      }
    }
  }
}

TEST(Columns, BlocksOfOutputsGiveTheStoredColumnsBack) {
  ThreadPool pool(1);
  for (const DType type : kBlockTypes) {
    for (const std::int64_t cols : {1, 3, 24, 37}) {
      const WeightMatrix stored = random_columns(type, 96, cols, 5), blocks = interleave(stored, pool);
      std::vector<std::byte> column(stored.row_bytes);
      for (std::int64_t k = 0; k < cols; ++k) {
        restore_column(blocks, k, column.data());
        const std::byte* expected = stored.data + static_cast<std::size_t>(k) * stored.row_bytes;
        ASSERT_EQ(std::memcmp(column.data(), expected, column.size()), 0) << dtype_name(type) << " " << cols;
      }
    }
  }
}

// Relative difference of `out` from the double product with the decoded weights.
double error_of(const WeightMatrix& w, const ActivationRows& x, MatrixView<const float> out) {
  std::vector<float> row(static_cast<std::size_t>(w.cols));
  double miss = 0, size = 0;
  for (std::int64_t n = 0; n < w.rows; ++n) {
    decode_row(w, n, row);
    for (std::int64_t m = 0; m < x.rows(); ++m) {
      double sum = 0;
      for (std::int64_t k = 0; k < w.cols; ++k) {
        sum += static_cast<double>(x.floats().at(m, k)) * row[static_cast<std::size_t>(k)];
      }
      miss += (out.at(m, n) - sum) * (out.at(m, n) - sum);
      size += sum * sum;
    }
  }
  return std::sqrt(miss / size);
}

// Floats are exact; Q8 rounds to a 127th of the largest of 32 products of input and scale.
TEST(Columns, ProductsAreThoseOfTheDecodedWeights) {
  for (const Isa isa : available_isas()) {
    for (const DType type :
         {DType::kF32, DType::kBF16, DType::kQ8_0, DType::kQ5_0, DType::kQ4_0, DType::kQ5_1, DType::kQ4_K}) {
      for (const std::int64_t cols : {1, 24, 32, 40, 300}) {
        const std::int64_t rows = type == DType::kQ4_K ? 256 : 64;
        const std::vector<float> values = random_values(static_cast<std::size_t>(5 * cols), 2);
        for (const WeightMatrix& w : layouts_of(random_columns(type, rows, cols, 3))) {
          ActivationRows x;
          x.assign({values.data(), 5, cols});
          Matrix<float> out(5, rows);
          for (const bool q8 : {false, true}) {
            if (q8) x.reserve_q8();
            matmul_with(matmul_kernels(isa), w, {0, rows}, x, {}, out.view(), {});
            const bool rounds = q8 && takes_q8(w);
            EXPECT_LT(error_of(w, x, out.view()), rounds ? 1e-2 : 1e-6)
                << dtype_name(type) << " " << isa_name(isa) << " " << cols;
          }
        }
      }
    }
  }
}

TEST(Columns, ARowsBitsDependOnNothingElse) {
  constexpr std::int64_t kRows = 96, kCols = 71, kInputs = 13;
  const std::vector<float> values = random_values(kInputs * kCols, 4);
  for (const Isa isa : available_isas()) {
    for (const DType type : {DType::kF16, DType::kQ8_0, DType::kQ5_0, DType::kQ4_0, DType::kQ4_1}) {
      const std::vector<WeightMatrix> layouts = layouts_of(random_columns(type, kRows, kCols, 5));
      ActivationRows x;
      x.assign({values.data(), kInputs, kCols});
      for (const bool q8 : {false, true}) {
        if (q8) x.reserve_q8();
        Matrix<float> whole(kInputs, kRows), part(kInputs, kRows);
        matmul_with(matmul_kernels(isa), layouts.front(), {0, kRows}, x, {}, whole.view(), {});
        std::mt19937 generator(6);
        for (int trial = 0; trial < 24; ++trial) {
          const auto begin = static_cast<std::int64_t>(generator() % kRows);
          const RowRange range = {begin, begin + 1 + static_cast<std::int64_t>(generator()) % (kRows - begin)};
          std::vector<std::int32_t> from;
          for (int i = 0; i <= trial % kInputs; ++i) from.push_back(static_cast<std::int32_t>(generator() % kInputs));
          const WeightMatrix& w = layouts[static_cast<std::size_t>(trial) % layouts.size()];
          matmul_with(matmul_kernels(isa), w, range, x, from, part.view(), {});
          for (std::size_t i = 0; i < from.size(); ++i) {
            ASSERT_EQ(std::memcmp(&whole.view().at(from[i], range.begin),
                                  &part.view().at(static_cast<std::int64_t>(i), range.begin),
                                  static_cast<std::size_t>(range.end - range.begin) * sizeof(float)),
                      0)
                << dtype_name(type) << " " << isa_name(isa) << " trial " << trial;
          }
        }
      }
    }
  }
}

const MatmulKernel& twin_of(DType type) {
  const auto* twin = std::ranges::find(kMatmulTwin, type, &MatmulKernel::type);
  return *twin;
}

void expect_the_bits_of_the_twin(DType type, std::int64_t cols) {
  const WeightMatrix w = layouts_of(random_columns(type, 32, cols, 7)).back();
  std::vector<float> values = random_values(static_cast<std::size_t>(cols), 8);
  for (const float special : {1.0f, 0.0f, 1e-38f, INFINITY, NAN}) {
    values[1] = special;
    float expected[32], got[32];
    twin_of(type).columns(w.data, cols, values.data(), expected);
    EXPECT_EQ(std::isfinite(expected[0]), std::isfinite(special));
    for (const Isa isa : available_isas()) {
      const MatmulKernel* kernel = find_kernel(matmul_kernels(isa), type);
      if (kernel == nullptr) continue;
      kernel->columns(w.data, cols, values.data(), got);
      for (int r = 0; r < 32; ++r) {
        ASSERT_TRUE(got[r] == expected[r] || (std::isnan(got[r]) && std::isnan(expected[r])))
            << dtype_name(type) << " " << isa_name(isa) << " " << cols << " " << special;
      }
    }
  }
}

TEST(Columns, EveryInstructionSetHasTheBitsOfTheTwin) {
  for (const DType type : kBlockTypes) {
    for (const std::int64_t cols : {3, 32, 50, 96}) expect_the_bits_of_the_twin(type, cols);
  }
}

}  // namespace
}  // namespace junto
