#include "kernels/columns.h"

#include <algorithm>
#include <cstring>

#include "tensor/block_formats.h"
#include "tensor/half.h"

namespace junto {
namespace {

constexpr std::int64_t kHalfRows = 16;
constexpr std::size_t kScaleBytes = 2;
constexpr std::int64_t kLargestBlock = 256;

// Outputs that are decoded together.
std::int64_t rows_together(DType type) {
  return std::max(block_values(type), kHalfRows);
}

// Where the scale of a column stands in a block of outputs.
std::size_t place_of_scale(std::int64_t column) {
  return static_cast<std::size_t>(column / kColumnGroup) * column_group_bytes(kColumnGroup) +
         static_cast<std::size_t>(column % kColumnGroup) * kScaleBytes;
}

// Where the quant of a column and of an output of the block stands.
std::size_t place_of(std::int64_t cols, std::int64_t column, std::int64_t row) {
  const std::int64_t group = column / kColumnGroup, in_group = column % kColumnGroup;
  const std::int64_t words = column_words(std::min(kColumnGroup, cols - group * kColumnGroup));
  const std::int64_t word = row / kHalfRows * words + in_group / 4;
  return static_cast<std::size_t>(group) * column_group_bytes(kColumnGroup) + kColumnScaleBytes +
         static_cast<std::size_t>(64 * word + row % kHalfRows * 4 + in_group % 4);
}

// Outputs [row, row + rows_together()) of one column; what is beyond the end is zero.
void decode_together(const WeightMatrix& w, std::int64_t column, std::int64_t row, float* out) {
  if (w.layout == WeightLayout::kColumns) {
    const std::int64_t together = rows_together(w.type), there = std::min(together, w.rows - row);
    const std::byte* stored = w.data + static_cast<std::size_t>(column) * w.row_bytes + bytes_of(w.type, row);
    decode_values(w.type, stored, {out, static_cast<std::size_t>(there)});
    return std::fill(out + there, out + together, 0.0f);
  }
  const std::byte* block = w.data + static_cast<std::size_t>(row / kColumnBlockRows) * column_block_bytes(w.cols);
  std::uint16_t half;
  std::memcpy(&half, block + place_of_scale(column), sizeof half);
  const float scale = half_to_float(half);
  for (std::int64_t r = 0; r < kColumnBlockRows; ++r) {
    out[r] = scale * static_cast<float>(static_cast<std::int8_t>(block[place_of(w.cols, column, r)]));
  }
}

}  // namespace

bool has_column_blocks(DType type) {
  return type == DType::kQ8_0;
}

void make_column_block(const WeightMatrix& w, std::int64_t block, std::byte* out) {
  std::memset(out, 0, column_block_bytes(w.cols));
  const std::byte* from = w.data + static_cast<std::size_t>(block) * block_bytes(w.type);
  for (std::int64_t k = 0; k < w.cols; ++k, from += w.row_bytes) {
    std::memcpy(out + place_of_scale(k), from, kScaleBytes);
    for (std::int64_t r = 0; r < kColumnBlockRows; ++r) {
      out[place_of(w.cols, k, r)] = from[kScaleBytes + static_cast<std::size_t>(r)];
    }
  }
}

void restore_column(const WeightMatrix& w, std::int64_t column, std::byte* out) {
  for (std::int64_t row = 0; row < w.rows; row += kColumnBlockRows, out += block_bytes(w.type)) {
    const std::byte* block = w.data + static_cast<std::size_t>(row / kColumnBlockRows) * column_block_bytes(w.cols);
    std::memcpy(out, block + place_of_scale(column), kScaleBytes);
    for (std::int64_t r = 0; r < kColumnBlockRows; ++r) {
      out[kScaleBytes + static_cast<std::size_t>(r)] = block[place_of(w.cols, column, r)];
    }
  }
}

void decode_columns(const WeightMatrix& w, std::int64_t row, std::int64_t rows, std::int64_t first, std::int64_t cols,
                    float* out) {
  float values[kLargestBlock];
  for (std::int64_t k = 0; k < cols; ++k) {
    for (std::int64_t begin = 0; begin < rows; begin += rows_together(w.type)) {
      decode_together(w, first + k, row + begin, values);
      for (std::int64_t r = begin; r < std::min(begin + rows_together(w.type), rows); r += kHalfRows) {
        std::copy_n(values + r - begin, kHalfRows, out + (r / kHalfRows * cols + k) * kHalfRows);
      }
    }
  }
}

void decode_row_of_columns(const WeightMatrix& w, std::int64_t r, std::span<float> out) {
  float values[kLargestBlock];
  const std::int64_t begin = r / rows_together(w.type) * rows_together(w.type);
  for (std::int64_t k = 0; k < w.cols; ++k) {
    decode_together(w, k, begin, values);
    out[static_cast<std::size_t>(k)] = values[r - begin];
  }
}

}  // namespace junto
