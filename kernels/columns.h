// Weights that are stored column by column (WeightLayout::kColumns): an expert's down matrix as [width, D], where row n
// is what neuron n adds to the output. Such a matrix can be cut at any neuron.
//
// Columns of Q8_0 are read by the kernels as blocks of 32 outputs (WeightLayout::kColumnBlocks), each one stream:
//
//   block of outputs = groups of 32 columns, the last perhaps of fewer
//   group = the scales of its columns, filled up to 64 bytes; then words of four columns (filled up with zeros), each
//   as
//          [16 outputs][4 columns]: those of the first 16 outputs, then those of the others
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/matmul.h"

namespace junto {

inline constexpr std::int64_t kColumnBlockRows = 32;
inline constexpr std::int64_t kColumnGroup = 32;  // columns
inline constexpr std::size_t kColumnScaleBytes = 64;

/// True for types that have a form of kColumnBlocks.
bool has_column_blocks(DType type);

/// Words of four columns in a group that has `cols` of them.
constexpr std::int64_t column_words(std::int64_t cols) {
  return (cols + 3) / 4;
}
/// Bytes of a group of `cols` columns, at most kColumnGroup.
constexpr std::size_t column_group_bytes(std::int64_t cols) {
  return kColumnScaleBytes + 2 * 64 * static_cast<std::size_t>(column_words(cols));
}
/// Bytes of one block of outputs.
constexpr std::size_t column_block_bytes(std::int64_t cols) {
  const std::int64_t rest = cols % kColumnGroup;
  return static_cast<std::size_t>(cols / kColumnGroup) * column_group_bytes(kColumnGroup) +
         (rest > 0 ? column_group_bytes(rest) : 0);
}

/// Writes one block of outputs of kColumns `w` to `out`.
void make_column_block(const WeightMatrix& w, std::int64_t block, std::byte* out);

/// Column `column` of kColumnBlocks `w` as it was stored: w.row_bytes bytes.
void restore_column(const WeightMatrix& w, std::int64_t column, std::byte* out);

/// Outputs [row, row + rows) of columns [first, first + cols) in float: out[(r / 16 * cols + k) * 16 + r % 16]. `row`
/// is a multiple of 16 and of the type's block, `rows` of 16; what is beyond the end of w is zero.
void decode_columns(const WeightMatrix& w, std::int64_t row, std::int64_t rows, std::int64_t first, std::int64_t cols,
                    float* out);

/// Row `r` in float, of either layout.
void decode_row_of_columns(const WeightMatrix& w, std::int64_t r, std::span<float> out);

}  // namespace junto
