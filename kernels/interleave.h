// The layout that fast kernels read: 16 rows side by side, so that a vector register holds the same columns of 16 rows,
// results need no horizontal sums and all memory is read in one stream.
//
//   matrix = groups of 16 rows (the last one filled up with rows of zeros)
//   group  = units along K (the last one filled up with blocks of zeros)
//   unit   = one or several blocks of each row, taken apart into fields; each field's elements (of 1, 2 or 4 bytes)
//            stand as [element][16 rows]; words of quants begin at a multiple of 64 bytes
//
// F32, F16 and BF16 have units of one value: [K][16 rows]. Interleaving only moves bytes (and in Q5_0 and Q5_1 the high
// bits within their word), so it can be undone, and one layout serves all instruction sets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/thread_pool.h"
#include "kernels/matmul.h"

namespace junto {

inline constexpr std::int64_t kInterleavedRows = 16;

/// One kind of element of a stored block.
struct UnitField {
  std::size_t offset = 0;         // in the block
  std::size_t element_bytes = 4;  // 1, 2 or 4
  std::size_t count = 1;          // elements
  bool spread_bits = false;       // 32 high bits: bit 4 w + p goes to bit w of byte p
};

struct UnitLayout {
  DType type = DType::kF32;
  std::int64_t blocks = 1;  // of the stored format in one unit
  std::size_t bytes = 0;    // of one unit of 16 rows
  std::span<const UnitField> fields;
};

/// The layout of `type`, or null where it has none (integers, FP8).
const UnitLayout* unit_layout(DType type);

/// Bytes of 16 interleaved rows of `cols` values. Throws Error where the type cannot be interleaved.
std::size_t interleaved_group_bytes(DType type, std::int64_t cols);

/// Bytes of `w` when interleaved.
std::size_t interleaved_bytes(const WeightMatrix& w);

/// Writes groups [groups.begin, groups.end) of stored `w`; `out` is where group 0 stands. Different threads may do
/// different groups.
void interleave_groups(const WeightMatrix& w, RowRange groups, std::byte* out);

/// Matrix of [rows, cols] whose interleaved bytes lie at `data`, a multiple of 64.
WeightMatrix interleaved_weights(DType type, std::int64_t rows, std::int64_t cols, const std::byte* data,
                                 std::shared_ptr<const void> keep_alive);

/// Memory for interleaved weights: in large pages where the system has them.
std::shared_ptr<std::byte> allocate_weights(std::size_t bytes);

/// Stored `w` interleaved by all threads of the pool into memory of its own.
WeightMatrix interleave(const WeightMatrix& w, ThreadPool& pool);

/// True where the kernels in use run faster on the interleaved form of `w` than on its stored one.
bool gains_from_interleaving(const WeightMatrix& w);

/// Interleaves units [first, first + count) of 16 stored rows (null: a row of zeros) of `blocks` blocks each.
void interleave_units(const UnitLayout& layout, const std::byte* const* rows, std::int64_t blocks, std::int64_t first,
                      std::int64_t count, std::byte* out);

/// The stored block `block` of row `row` (0..15) of an interleaved group.
void deinterleave_block(const UnitLayout& layout, const std::byte* group, std::int64_t row, std::int64_t block,
                        std::byte* out);

}  // namespace junto
