// Linear maps with stored weights: out = x * w^T. One call does a range of output rows for any number of input rows.
//
// Row invariance: on one instruction set, out[m, n] depends on row m of x and row n of w alone, to the bit: every
// kernel accumulates over K in one fixed order, however many rows a call has and wherever its range begins.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "tensor/dtype.h"
#include "tensor/tensor.h"
#include "tensor/view.h"

namespace junto {

/// In what form activations meet quantised weights. F32, F16 and BF16 weights always take float activations.
enum class ActivationType : std::uint8_t { kF32, kQ8 };

/// How the bytes of a WeightMatrix lie.
enum class WeightLayout : std::uint8_t {
  kRows,          // as stored: row after row
  kInterleaved,   // 16 rows at a time, side by side, see interleave.h
  kColumns,       // as stored transposed: column after column, what one input gives to all outputs
  kColumnBlocks,  // kColumns cut into blocks of 32 outputs, see columns.h
};

constexpr bool is_by_column(WeightLayout layout) {
  return layout == WeightLayout::kColumns || layout == WeightLayout::kColumnBlocks;
}

/// Weights [rows, cols] as the kernels read them. Cheap to copy: it shares its bytes.
struct WeightMatrix {
  DType type = DType::kF32;
  std::int64_t rows = 0;      // N, output features
  std::int64_t cols = 0;      // K, input features
  std::size_t row_bytes = 0;  // of what is stored in one piece: a row, or a column where columns are
  const std::byte* data = nullptr;
  std::shared_ptr<const void> keep_alive;
  WeightLayout layout = WeightLayout::kRows;

  /// What lies at `data`.
  std::size_t bytes() const;
  /// What it takes as it is stored, whatever its layout is now.
  std::size_t stored_bytes() const { return row_bytes * static_cast<std::size_t>(is_by_column(layout) ? cols : rows); }
};

/// Takes a 2-d tensor [N, K] as it is stored. Throws Error where K is no multiple of the type's block.
WeightMatrix make_weights(const Tensor& tensor);

/// Takes a 2-d tensor [K, N]: weights that are stored column by column, blocks along N. Throws Error as make_weights()
/// does.
WeightMatrix make_column_weights(const Tensor& tensor);

/// Whether products with `w` take activations in Q8 where there are some: by column, types with blocks of columns
/// (columns.h) alone do.
bool takes_q8(const WeightMatrix& w);

/// Row `r` in float, w.cols values, of any layout.
void decode_row(const WeightMatrix& w, std::int64_t r, std::span<float> out);

/// 32 columns of an activation row in Q8: x[i] ~ scale * quant[i]. The sums serve weights with an offset or a minimum
/// and are stored negative, as products subtract them.
struct Q8Group {
  std::int8_t quant[32];         // -127..127
  float scale;                   // NaN where a value was not finite
  std::int32_t minus_sum;        // -(sum of quant)
  float scaled_minus_sum;        // scale * minus_sum
  std::int16_t minus_sums16[2];  // -(sum of each 16 quants)
};
static_assert(sizeof(Q8Group) == 48);

/// Input rows [rows, cols] in float and, once quantise() was called, in Q8. Reused from call to call without
/// allocating.
class ActivationRows {
 public:
  /// Shows `x`, which must stay alive while this is used. Drops an earlier Q8 form.
  void assign(MatrixView<const float> x);
  /// Quantises rows [begin, end); rows may be done by different threads. reserve_q8() must come first.
  void reserve_q8();
  void quantise(std::int64_t begin, std::int64_t end);
  /// reserve_q8 and quantise of all rows.
  void quantise_all();

  MatrixView<const float> floats() const { return x_; }
  std::int64_t rows() const { return x_.rows; }
  std::int64_t cols() const { return x_.cols; }
  bool has_q8() const { return has_q8_; }

  /// For kernels: the groups of one row, padded with zeros to a multiple of 256 columns.
  const Q8Group* q8(std::int64_t row) const { return groups_.data() + row * groups_per_row_; }
  std::int64_t q8_groups_per_row() const { return groups_per_row_; }

 private:
  MatrixView<const float> x_;
  std::vector<Q8Group> groups_;
  std::int64_t groups_per_row_ = 0;
  bool has_q8_ = false;
};

/// Rows of w that one call computes.
struct RowRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

/// out[out_rows[i], n] = sum over k of x[x_rows[i], k] * w[n, k], for n in `range`; empty id lists mean the identity.
/// `out` has at least range.end columns. Uses the Q8 form where takes_q8(w) and x has one. Does not start threads.
void matmul(const WeightMatrix& w, RowRange range, const ActivationRows& x, std::span<const std::int32_t> x_rows,
            MatrixView<float> out, std::span<const std::int32_t> out_rows);

/// Rows of w that one block of work should hold: callers cut [0, w.rows) at multiples of it.
std::int64_t matmul_block_rows(const WeightMatrix& w);

/// Rows of w that are computed together at least: ranges are best cut at multiples of it.
std::int64_t matmul_group_rows(const WeightMatrix& w);

/// Groups of rows cut into pieces for a parallel region whose time goes with the bytes of weights. Every thread of the
/// pool gets the same number of them (ThreadPool hands ranges out like that), the first with half of its share, the
/// next with half of the rest and so on: a long piece is a long stream of memory, short ones at the end let threads
/// help each other out.
class Pieces {
 public:
  /// `bytes` of weights in `groups` groups.
  Pieces(std::size_t bytes, std::int64_t groups, int threads);
  std::int64_t count() const { return shares_ * per_share_; }
  /// Where piece i of [0, count()] begins; piece count() would begin at `groups`. None is empty.
  std::int64_t begin(std::int64_t i) const;

 private:
  std::int64_t groups_, shares_, per_share_ = 1;
};

/// Name of the instruction set in use: "portable", "avx2", "avx512", "neon"; JUNTO_ISA forces one (Error if the CPU
/// lacks it).
std::string_view active_isa();

}  // namespace junto
