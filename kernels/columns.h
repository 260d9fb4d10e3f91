// Weights that are stored column by column (WeightLayout::kColumns): an expert's down matrix as [width, D], where row n
// is what neuron n adds to the output. Such a matrix can be cut at any neuron.
//
// Columns of Q8_0 are read by the kernels as blocks of 32 outputs (WeightLayout::kColumnBlocks):
//
//   block of outputs = scales of all columns, filled up to a multiple of 64 bytes; then words of four columns (filled
//          up with zeros), each as [16 outputs][4 columns]: those of the first 16 outputs, then those of the others
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/matmul.h"

namespace junto {

inline constexpr std::int64_t kColumnBlockRows = 32;

/// True for types that have a form of kColumnBlocks.
bool has_column_blocks(DType type);

/// Parts of one block of outputs, and its bytes.
constexpr std::size_t column_scale_bytes(std::int64_t cols) {
  return (2 * static_cast<std::size_t>(cols) + 63) / 64 * 64;
}
constexpr std::int64_t column_words(std::int64_t cols) {
  return (cols + 3) / 4;
}
constexpr std::size_t column_block_bytes(std::int64_t cols) {
  return column_scale_bytes(cols) + 2 * 64 * static_cast<std::size_t>(column_words(cols));
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
