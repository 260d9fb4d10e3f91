#include "tensor/tensor.h"

#include <gtest/gtest.h>

#include <limits>

#include "base/error.h"
#include "tensor/block_formats.h"

namespace junto {
namespace {

TEST(DType, NamesGoThereAndBack) {
  for (const BlockFormat& format : block_formats()) {
    EXPECT_TRUE(is_known_dtype(static_cast<std::uint32_t>(format.type)));
    EXPECT_EQ(dtype_from_name(dtype_name(format.type)), format.type);
  }
  EXPECT_EQ(dtype_from_name("Q4_K"), DType::kQ4_K);
  EXPECT_FALSE(dtype_from_name("q4").has_value());
  EXPECT_FALSE(is_known_dtype(4));
  EXPECT_THROW(dtype_name(static_cast<DType>(4)), Error);
}

TEST(DType, BytesOfRefusesPartsOfBlocksAndOverflow) {
  EXPECT_EQ(bytes_of(DType::kQ4_0, 64), 36u);
  EXPECT_EQ(bytes_of(DType::kF16, 3), 6u);
  EXPECT_THROW(bytes_of(DType::kQ4_K, 32), Error);
  EXPECT_THROW(bytes_of(DType::kF32, -1), Error);
  EXPECT_THROW(bytes_of(DType::kF32, std::numeric_limits<std::int64_t>::max()), Error);
}

TEST(Tensor, RowsColumnsSlices) {
  const Tensor t = make_tensor({2, 2, 3}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
  EXPECT_EQ(t.values(), 12);
  EXPECT_EQ(t.rows(), 4);
  EXPECT_EQ(t.cols(), 3);
  std::vector<float> row(3);
  decode_row(t, 2, row);
  EXPECT_EQ(row, (std::vector<float>{6, 7, 8}));
  const Tensor second = slice(t, 1);
  EXPECT_EQ(second.shape, (Shape{2, 3}));
  EXPECT_EQ(decode(second), (std::vector<float>{6, 7, 8, 9, 10, 11}));
  EXPECT_EQ(to_string(t.shape), "[2, 2, 3]");
  EXPECT_THROW(slice(t, 2), Error);
  EXPECT_THROW(decode_row(t, 4, row), Error);
  EXPECT_THROW(make_tensor({2, 2}, {1}), Error);
}

TEST(Tensor, EmptyTensorsDecodeToNothing) {
  EXPECT_TRUE(decode(Tensor{DType::kF32, {0, 4}, {}, nullptr}).empty());
  EXPECT_TRUE(decode(Tensor{DType::kQ8_0, {4, 0}, {}, nullptr}).empty());
}

TEST(Tensor, IntegersDecodeToFloats) {
  const std::int32_t ids[] = {-1, 7};
  const Tensor t{DType::kI32, {2}, std::as_bytes(std::span(ids)), nullptr};
  EXPECT_EQ(decode(t), (std::vector<float>{-1, 7}));
}

}  // namespace
}  // namespace junto
