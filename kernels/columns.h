// Weights that are stored column by column (WeightLayout::kColumns): an expert's down matrix as [width, D], where row n
// is what neuron n adds to the output. Such a matrix can be cut at any neuron.
//
// Columns of Q8_0, Q5_0 and Q4_0 are read by the kernels as blocks of 32 outputs (WeightLayout::kColumnBlocks), each
// one stream:
//
//   block of outputs = groups of 32 columns, the last perhaps of fewer
//   group = the scales of its columns, filled up to 64 bytes; then the quants of the first 16 outputs, then those of
//   the
//           others
//   quants of Q8_0 = words of four columns (filled up with zeros), each as [16 outputs][4 columns]
//   quants of Q5_0 and Q4_0 = those of an interleaved unit whose rows are the outputs (kernels/interleave.h), always of
//   32
//           columns
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
/// Bytes of a group of `cols` columns, at most kColumnGroup, of a type that has_column_blocks().
std::size_t column_group_bytes(DType type, std::int64_t cols);
/// Bytes of one block of outputs.
std::size_t column_block_bytes(DType type, std::int64_t cols);

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
