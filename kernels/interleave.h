// The layout that fast kernels read: 16 rows side by side, so that a vector register holds the same columns of 16 rows,
// results need no horizontal sums and all memory is read in one stream.
//
//   matrix = row groups of 16 rows (the last one filled up with rows of zeros)
//   row group = units along K (a last unit of fewer blocks ends after the words of these)
//   unit = one or several blocks of each row: first the small fields (scales, mins), each as [element][16 rows], filled
//          up to a multiple of 64 bytes; then for each 32 columns the quants, as [word of 4 bytes][16 rows]
//
// In the words, quants of 4, 2 or 1 bits are packed so that word w of 32 columns (columns 4 w to 4 w + 3) has its bits
// at the same place in every byte: nibbles stand in word w % 4 (low for w < 4), pairs of bits in word w % 2 at bit 2 (w
// / 2), single bits in one word at bit w. F32, F16 and BF16 have units of one value: [K][16 rows].
//
// Interleaving only moves bits, so it can be undone, and one layout serves all instruction sets. Kernels read it once,
// in order, in one stream: that is what hardware prefetching needs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/thread_pool.h"
#include "kernels/matmul.h"

namespace junto {

inline constexpr std::int64_t kInterleavedRows = 16;
/// Of interleaved bytes: what GGUF gives to tensors. Loads that cross lines of the cache were not slower where weights
/// come from memory.
inline constexpr std::size_t kInterleavedAlignment = 32;

/// Scales and mins of a stored block: elements of 1 or 2 bytes.
struct SmallField {
  std::size_t offset = 0;  // in the block
  std::size_t element_bytes = 2;
  std::size_t count = 1;  // elements
};

/// Quants of a stored block, or some of their bits: value i has `bits` bits of byte offset + i / span * run + i % run,
/// from bit (i % span) / run * bits on, where span = run * 8 / bits.
struct QuantPiece {
  std::size_t offset = 0;  // in the block
  std::size_t bits = 4;    // 1, 2, 4 or 8
  std::size_t run = 16;
};

struct UnitLayout {
  DType type = DType::kF32;
  std::int64_t blocks = 1;        // of the stored format in one unit
  std::size_t bytes = 0;          // of one unit of 16 rows
  std::size_t block_bytes = 0;    // of the stored format
  std::size_t block_columns = 0;  // of the stored format
  std::span<const SmallField> fields;
  std::span<const QuantPiece> pieces;
};

/// The layout of `type`, or null where it has none (integers, FP8).
const UnitLayout* unit_layout(DType type);

/// Bytes of 16 interleaved rows of `cols` values. Throws Error where the type cannot be interleaved.
std::size_t interleaved_group_bytes(DType type, std::int64_t cols);

/// Bytes of `w` when interleaved, or brought into blocks of outputs where it lies by column (columns.h).
std::size_t interleaved_bytes(const WeightMatrix& w);

/// How many groups interleave_groups() writes for `w`.
std::int64_t interleaved_groups(const WeightMatrix& w);

/// Writes groups [groups.begin, groups.end) of stored `w`; `out` is where group 0 stands. Different threads may do
/// different groups.
void interleave_groups(const WeightMatrix& w, RowRange groups, std::byte* out);

/// Stored `w` whose interleaved bytes lie at `data`, a multiple of kInterleavedAlignment.
WeightMatrix interleaved_weights(const WeightMatrix& w, const std::byte* data, std::shared_ptr<const void> keep_alive);

/// The same for rows of a type.
WeightMatrix interleaved_weights(DType type, std::int64_t rows, std::int64_t cols, const std::byte* data,
                                 std::shared_ptr<const void> keep_alive);

/// Memory for interleaved weights: in large pages where the system has them. Aligned to 64 bytes, from 2 MiB on to 2
/// MiB.
std::shared_ptr<std::byte> allocate_weights(std::size_t bytes);

/// Whether each group of `w` takes as many bytes interleaved as stored, so that it can be interleaved where it lies.
bool interleaves_in_place(const WeightMatrix& w);

/// Interleaves stored `w`, whose bytes lie at `data`, in their place. Of matrices that interleaves_in_place() names.
void interleave_in_place(const WeightMatrix& w, std::byte* data);

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
