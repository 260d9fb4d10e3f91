#include "kernels/interleave.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <string>

#include "base/error.h"
#include "tensor/block_formats.h"

namespace junto {
namespace {

constexpr std::size_t kRows = kInterleavedRows;
constexpr std::size_t kLine = 64;

constexpr SmallField kD[] = {{0, 2, 1}};
constexpr SmallField kDM[] = {{0, 2, 1}, {2, 2, 1}};
constexpr SmallField kE[] = {{0, 1, 1}};
constexpr SmallField kK4[] = {{0, 2, 1}, {2, 2, 1}, {4, 1, 12}};  // d, dmin, scales and mins of Q4_K and Q5_K
constexpr SmallField kScalesQ2_K[] = {{80, 2, 1}, {82, 2, 1}, {0, 1, 16}};
constexpr SmallField kScalesQ3_K[] = {{108, 2, 1}, {96, 1, 12}};
constexpr SmallField kScalesQ6_K[] = {{208, 2, 1}, {192, 1, 16}};
constexpr SmallField kScalesIQ4_XS[] = {{0, 2, 1}, {2, 2, 1}, {4, 1, 4}};

constexpr QuantPiece kQ4_0[] = {{2, 4, 16}};  // and IQ4_NL
constexpr QuantPiece kQ4_1[] = {{4, 4, 16}};
constexpr QuantPiece kQ5_0[] = {{2, 1, 1}, {6, 4, 16}};
constexpr QuantPiece kQ5_1[] = {{4, 1, 1}, {8, 4, 16}};
constexpr QuantPiece kQ8_0[] = {{2, 8, 32}};
constexpr QuantPiece kMXFP4[] = {{1, 4, 16}};
constexpr QuantPiece kQ2_K[] = {{16, 2, 32}};
constexpr QuantPiece kQ3_K[] = {{0, 1, 32}, {32, 2, 32}};
constexpr QuantPiece kQ4_K[] = {{16, 4, 32}};
constexpr QuantPiece kQ5_K[] = {{16, 1, 32}, {48, 4, 32}};
constexpr QuantPiece kQ6_K[] = {{128, 2, 32}, {0, 4, 64}};
constexpr QuantPiece kIQ4_XS[] = {{8, 4, 16}};

constexpr UnitLayout kLayouts[] = {
    {DType::kF32, 1, 64, {}, {}},
    {DType::kF16, 1, 32, {}, {}},
    {DType::kBF16, 1, 32, {}, {}},
    {DType::kQ4_0, 2, 576, kD, kQ4_0},
    {DType::kIQ4_NL, 2, 576, kD, kQ4_0},
    {DType::kQ4_1, 1, 320, kDM, kQ4_1},
    {DType::kQ5_0, 2, 704, kD, kQ5_0},
    {DType::kQ5_1, 1, 384, kDM, kQ5_1},
    {DType::kQ8_0, 2, 1088, kD, kQ8_0},
    {DType::kMXFP4, 4, 1088, kE, kMXFP4},
    {DType::kQ2_K, 1, 1344, kScalesQ2_K, kQ2_K},
    {DType::kQ3_K, 1, 1792, kScalesQ3_K, kQ3_K},
    {DType::kQ4_K, 1, 2304, kK4, kQ4_K},
    {DType::kQ5_K, 1, 2816, kK4, kQ5_K},
    {DType::kQ6_K, 1, 3392, kScalesQ6_K, kQ6_K},
    {DType::kIQ4_XS, 1, 2176, kScalesIQ4_XS, kIQ4_XS},
};

constexpr std::size_t kGroupColumns = 32;

// Run of a piece in an interleaved unit: 32 values in `bits` words.
constexpr std::size_t unit_run(std::size_t bits) {
  return 4 * bits;
}

// Calls visit(field, block in the unit, offset in the unit) for the small fields; returns where the words begin.
template <class Visit>
std::size_t each_field(const UnitLayout& layout, Visit visit) {
  std::size_t at = 0;
  for (const SmallField& field : layout.fields) {
    for (std::int64_t block = 0; block < layout.blocks; ++block) {
      visit(field, block, at);
      at += field.element_bytes * field.count * kRows;
    }
  }
  return (at + kLine - 1) / kLine * kLine;
}

// Bytes between the small fields and the words.
std::size_t words_gap(const UnitLayout& layout) {
  std::size_t used = 0;
  const std::size_t begin = each_field(layout, [&](const SmallField& field, std::int64_t, std::size_t at) {
    used = at + field.element_bytes * field.count * kRows;
  });
  return begin - used;
}

// Calls visit(piece, offset of group 0 in the unit, bytes from group to group).
template <class Visit>
void each_piece(const UnitLayout& layout, Visit visit) {
  std::size_t at = each_field(layout, [](const SmallField&, std::int64_t, std::size_t) {}), stride = 0;
  for (const QuantPiece& piece : layout.pieces) stride += piece.bits * kLine;
  for (const QuantPiece& piece : layout.pieces) {
    visit(piece, at, stride);
    at += piece.bits * kLine;
  }
}

template <std::size_t kBytes>
void transpose(const std::byte* const* blocks, const SmallField& field, std::byte* out) {
  for (std::size_t e = 0; e < field.count; ++e) {
    for (std::size_t r = 0; r < kRows; ++r, out += kBytes) {
      std::memcpy(out, blocks[r] + field.offset + e * kBytes, kBytes);
    }
  }
}

// Repacks `values` quants of `bits` from runs of `from_run` bytes to runs of `to_run`.
void repack(std::size_t bits, std::size_t values, const std::byte* in, std::size_t from_run, std::byte* out,
            std::size_t to_run) {
  std::uint8_t codes[256];
  const auto mask = static_cast<std::uint8_t>((1u << bits) - 1u);
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(in);
  for (std::size_t i = 0; i < values; bytes += from_run) {
    for (std::size_t shift = 0; shift < 8; shift += bits, i += from_run) {
      for (std::size_t j = 0; j < from_run; ++j) codes[i + j] = static_cast<std::uint8_t>(bytes[j] >> shift & mask);
    }
  }
  auto* packed = reinterpret_cast<std::uint8_t*>(out);
  for (std::size_t i = 0; i < values; packed += to_run) {
    for (std::size_t j = 0; j < to_run; ++j) packed[j] = 0;
    for (std::size_t shift = 0; shift < 8; shift += bits, i += to_run) {
      for (std::size_t j = 0; j < to_run; ++j) packed[j] |= static_cast<std::uint8_t>(codes[i + j] << shift);
    }
  }
}

using Words = std::uint32_t __attribute__((vector_size(16)));

Words load_words(const std::byte* from) {
  Words words;
  std::memcpy(&words, from, sizeof words);
  return words;
}

// `count` words of all rows to [word][16 rows], four at a time as 4 x 4 transpositions.
void transpose_words(const std::byte* const* rows, std::size_t count, std::byte* out) {
  std::size_t e = 0;
  for (; e + 4 <= count; e += 4, out += 4 * kLine) {
    for (std::size_t r = 0; r < kRows; r += 4) {
      Words in[4];
      for (std::size_t i = 0; i < 4; ++i) in[i] = load_words(rows[r + i] + 4 * e);
      const Words a = __builtin_shufflevector(in[0], in[1], 0, 4, 1, 5);
      const Words b = __builtin_shufflevector(in[0], in[1], 2, 6, 3, 7);
      const Words c = __builtin_shufflevector(in[2], in[3], 0, 4, 1, 5);
      const Words d = __builtin_shufflevector(in[2], in[3], 2, 6, 3, 7);
      const Words columns[4] = {__builtin_shufflevector(a, c, 0, 1, 4, 5), __builtin_shufflevector(a, c, 2, 3, 6, 7),
                                __builtin_shufflevector(b, d, 0, 1, 4, 5), __builtin_shufflevector(b, d, 2, 3, 6, 7)};
      for (std::size_t i = 0; i < 4; ++i) std::memcpy(out + i * kLine + 4 * r, &columns[i], sizeof columns[i]);
    }
  }
  for (; e < count; ++e) {
    for (std::size_t r = 0; r < kRows; ++r, out += 4) std::memcpy(out, rows[r] + 4 * e, 4);
  }
}

// One piece of one block of all rows: `groups` groups, `stride` bytes apart.
void interleave_piece(const std::byte* const* blocks, const QuantPiece& piece, std::size_t groups, std::size_t stride,
                      std::byte* out) {
  std::byte packed[kRows][256];
  const std::byte* rows[kRows];
  const std::size_t run = unit_run(piece.bits);
  for (std::size_t r = 0; r < kRows; ++r) {
    rows[r] = blocks[r] + piece.offset;
    if (piece.run == run) continue;
    repack(piece.bits, groups * kGroupColumns, rows[r], piece.run, packed[r], run);
    rows[r] = packed[r];
  }
  for (std::size_t g = 0; g < groups; ++g, out += stride) {
    transpose_words(rows, piece.bits, out);
    for (const std::byte*& row : rows) row += 4 * piece.bits;
  }
}

// [K][16 rows] of plain values.
template <std::size_t kBytes>
void interleave_values(const std::byte* const* rows, std::int64_t first, std::int64_t count, std::byte* out) {
  const std::byte* from[kRows];
  for (std::size_t r = 0; r < kRows; ++r) from[r] = rows[r] + static_cast<std::size_t>(first) * kBytes;
  std::int64_t k = 0;
  if constexpr (kBytes == 4) {
    const std::int64_t whole = count / 4 * 4;
    transpose_words(from, static_cast<std::size_t>(whole), out);
    k = whole;
  }
  for (; k < count; ++k) {
    for (std::size_t r = 0; r < kRows; ++r) {
      std::memcpy(out + (static_cast<std::size_t>(k) * kRows + r) * kBytes,
                  from[r] + static_cast<std::size_t>(k) * kBytes, kBytes);
    }
  }
}

std::int64_t units_per_row(const UnitLayout& layout, std::int64_t cols) {
  const std::int64_t unit_values = layout.blocks * block_values(layout.type);
  return (cols + unit_values - 1) / unit_values;
}

const UnitLayout& layout_of(DType type) {
  const UnitLayout* layout = unit_layout(type);
  if (layout == nullptr) fail(dtype_name(type), "has no interleaved form");
  return *layout;
}

}  // namespace

const UnitLayout* unit_layout(DType type) {
  for (const UnitLayout& layout : kLayouts) {
    if (layout.type == type) return &layout;
  }
  return nullptr;
}

std::size_t interleaved_group_bytes(DType type, std::int64_t cols) {
  const UnitLayout& layout = layout_of(type);
  return static_cast<std::size_t>(units_per_row(layout, cols)) * layout.bytes;
}

std::size_t interleaved_bytes(const WeightMatrix& w) {
  const std::int64_t groups = (w.rows + kInterleavedRows - 1) / kInterleavedRows;
  return static_cast<std::size_t>(groups) * interleaved_group_bytes(w.type, w.cols);
}

void interleave_units(const UnitLayout& layout, const std::byte* const* rows, std::int64_t blocks, std::int64_t first,
                      std::int64_t count, std::byte* out) {
  static constexpr std::byte kZeros[256] = {};
  const std::size_t stored_bytes = block_bytes(layout.type);
  if (block_values(layout.type) == 1) {
    std::vector<std::byte> zeros;
    const std::byte* present[kRows];
    for (std::size_t r = 0; r < kRows; ++r) {
      if (rows[r] == nullptr && zeros.empty()) zeros.resize(static_cast<std::size_t>(first + count) * stored_bytes);
      present[r] = rows[r] == nullptr ? zeros.data() : rows[r];
    }
    return stored_bytes == 4 ? interleave_values<4>(present, first, count, out)
                             : interleave_values<2>(present, first, count, out);
  }
  const std::size_t groups = static_cast<std::size_t>(block_values(layout.type)) / kGroupColumns;
  for (std::int64_t unit = first; unit < first + count; ++unit, out += layout.bytes) {
    for (std::int64_t block = 0; block < layout.blocks; ++block) {
      const std::int64_t index = unit * layout.blocks + block;
      const std::byte* from[kRows];
      for (std::size_t r = 0; r < kRows; ++r) {
        const bool absent = rows[r] == nullptr || index >= blocks;
        from[r] = absent ? kZeros : rows[r] + static_cast<std::size_t>(index) * stored_bytes;
      }
      const std::size_t words = each_field(layout, [&](const SmallField& field, std::int64_t of, std::size_t at) {
        if (of != block) return;
        field.element_bytes == 2 ? transpose<2>(from, field, out + at) : transpose<1>(from, field, out + at);
      });
      if (block == 0) std::memset(out + words - words_gap(layout), 0, words_gap(layout));
      each_piece(layout, [&](const QuantPiece& piece, std::size_t at, std::size_t stride) {
        interleave_piece(from, piece, groups, stride, out + at + static_cast<std::size_t>(block) * groups * stride);
      });
    }
  }
}

void deinterleave_block(const UnitLayout& layout, const std::byte* group, std::int64_t row, std::int64_t block,
                        std::byte* out) {
  const std::byte* unit = group + static_cast<std::size_t>(block / layout.blocks) * layout.bytes;
  const auto r = static_cast<std::size_t>(row), in_unit = static_cast<std::size_t>(block % layout.blocks);
  if (layout.pieces.empty()) {  // plain values
    const std::size_t bytes = block_bytes(layout.type);
    std::memcpy(out, unit + r * bytes, bytes);
    return;
  }
  each_field(layout, [&](const SmallField& field, std::int64_t of, std::size_t at) {
    if (static_cast<std::size_t>(of) != in_unit) return;
    for (std::size_t e = 0; e < field.count; ++e) {
      const std::byte* from = unit + at + (e * kRows + r) * field.element_bytes;
      std::memcpy(out + field.offset + e * field.element_bytes, from, field.element_bytes);
    }
  });
  const std::size_t groups = static_cast<std::size_t>(block_values(layout.type)) / kGroupColumns;
  each_piece(layout, [&](const QuantPiece& piece, std::size_t at, std::size_t stride) {
    std::byte packed[256];
    for (std::size_t g = 0; g < groups; ++g) {
      const std::byte* from = unit + at + (in_unit * groups + g) * stride + 4 * r;
      for (std::size_t w = 0; w < piece.bits; ++w) std::memcpy(packed + 4 * (g * piece.bits + w), from + w * kLine, 4);
    }
    if (piece.bits == 8) {
      std::memcpy(out + piece.offset, packed, groups * kGroupColumns);
    } else {
      repack(piece.bits, groups * kGroupColumns, packed, unit_run(piece.bits), out + piece.offset, piece.run);
    }
  });
}

void interleave_groups(const WeightMatrix& w, RowRange groups, std::byte* out) {
  const UnitLayout& layout = layout_of(w.type);
  const std::int64_t units = units_per_row(layout, w.cols);
  const std::size_t group_bytes = static_cast<std::size_t>(units) * layout.bytes;
  for (std::int64_t g = groups.begin; g < groups.end; ++g) {
    const std::byte* rows[kRows] = {};
    for (std::int64_t r = 0; r < kInterleavedRows && g * kInterleavedRows + r < w.rows; ++r) {
      rows[r] = w.data + static_cast<std::size_t>(g * kInterleavedRows + r) * w.row_bytes;
    }
    interleave_units(layout, rows, w.cols / block_values(w.type), 0, units,
                     out + static_cast<std::size_t>(g) * group_bytes);
  }
}

WeightMatrix interleaved_weights(DType type, std::int64_t rows, std::int64_t cols, const std::byte* data,
                                 std::shared_ptr<const void> keep_alive) {
  layout_of(type);
  if (reinterpret_cast<std::uintptr_t>(data) % kLine != 0) {
    fail("interleaved weights", "do not begin at a multiple of " + std::to_string(kLine) + " bytes");
  }
  return {type, rows, cols, bytes_of(type, cols), data, std::move(keep_alive), WeightLayout::kInterleaved};
}

std::shared_ptr<std::byte> allocate_weights(std::size_t bytes) {
  constexpr std::size_t kLargePage = std::size_t{2} << 20;
  const std::size_t alignment = bytes >= kLargePage ? kLargePage : kLine;
  const std::size_t rounded = (std::max<std::size_t>(bytes, 1) + alignment - 1) / alignment * alignment;
  auto* memory = static_cast<std::byte*>(::operator new(rounded, std::align_val_t(alignment)));
#if defined(MADV_HUGEPAGE)
  if (alignment == kLargePage) madvise(memory, rounded, MADV_HUGEPAGE);  // advice only: small pages work too
#endif
  return {memory, [alignment](std::byte* p) { ::operator delete(p, std::align_val_t(alignment)); }};
}

WeightMatrix interleave(const WeightMatrix& w, ThreadPool& pool) {
  std::shared_ptr<std::byte> memory = allocate_weights(interleaved_bytes(w));
  const std::int64_t groups = (w.rows + kInterleavedRows - 1) / kInterleavedRows;
  pool.for_each_block(groups, [&](std::int64_t group, int) { interleave_groups(w, {group, group + 1}, memory.get()); });
  return interleaved_weights(w.type, w.rows, w.cols, memory.get(), memory);
}

}  // namespace junto
