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

constexpr UnitField kF32[] = {{0, 4, 1}};
constexpr UnitField kF16[] = {{0, 2, 1}};
constexpr UnitField kNibbles[] = {{0, 2, 1}, {2, 4, 4}};                           // Q4_0, IQ4_NL
constexpr UnitField kQ4_1[] = {{0, 2, 1}, {2, 2, 1}, {4, 4, 4}};                   // d, m, quants
constexpr UnitField kQ5_0[] = {{0, 2, 1}, {2, 4, 1, true}, {6, 4, 4}};             // d, high, quants
constexpr UnitField kQ5_1[] = {{0, 2, 1}, {2, 2, 1}, {4, 4, 1, true}, {8, 4, 4}};  // d, m, high, quants
constexpr UnitField kQ8_0[] = {{0, 2, 1}, {2, 4, 8}};
constexpr UnitField kMXFP4[] = {{0, 1, 1}, {1, 4, 4}};
constexpr UnitField kQ2_K[] = {{80, 2, 1}, {82, 2, 1}, {0, 1, 16}, {16, 4, 16}};            // d, dmin, scales, quants
constexpr UnitField kQ3_K[] = {{108, 2, 1}, {96, 1, 12}, {0, 4, 8}, {32, 4, 16}};           // d, scales, high, quants
constexpr UnitField kQ4_K[] = {{0, 2, 1}, {2, 2, 1}, {4, 1, 12}, {16, 4, 32}};              // d, dmin, scales, quants
constexpr UnitField kQ5_K[] = {{0, 2, 1}, {2, 2, 1}, {4, 1, 12}, {16, 4, 8}, {48, 4, 32}};  // and high before quants
constexpr UnitField kQ6_K[] = {{208, 2, 1}, {192, 1, 16}, {128, 4, 16}, {0, 4, 32}};        // d, scales, high, low
constexpr UnitField kIQ4_XS[] = {{0, 2, 1}, {2, 2, 1}, {4, 1, 4}, {8, 4, 32}};  // d, high and low scales, quants

constexpr UnitLayout kLayouts[] = {
    {DType::kF32, 1, 64, kF32},         {DType::kF16, 1, 32, kF16},         {DType::kBF16, 1, 32, kF16},
    {DType::kQ4_0, 2, 576, kNibbles},   {DType::kIQ4_NL, 2, 576, kNibbles}, {DType::kQ4_1, 1, 320, kQ4_1},
    {DType::kQ5_0, 2, 704, kQ5_0},      {DType::kQ5_1, 1, 384, kQ5_1},      {DType::kQ8_0, 2, 1088, kQ8_0},
    {DType::kMXFP4, 4, 1088, kMXFP4},   {DType::kQ2_K, 1, 1344, kQ2_K},     {DType::kQ3_K, 1, 1792, kQ3_K},
    {DType::kQ4_K, 1, 2304, kQ4_K},     {DType::kQ5_K, 1, 2816, kQ5_K},     {DType::kQ6_K, 1, 3392, kQ6_K},
    {DType::kIQ4_XS, 1, 2176, kIQ4_XS},
};

// Where the words of quants begin: the fields of smaller elements before them, rounded up to a line.
std::size_t field_begin(std::size_t at, const UnitField& field, bool first_words, std::size_t unit_bytes) {
  return first_words && field.element_bytes == 4 && unit_bytes % kLine == 0 ? (at + kLine - 1) / kLine * kLine : at;
}

// Calls visit(field, block in the unit, offset in the unit) for all parts of a unit in order.
template <class Visit>
void each_part(const UnitLayout& layout, Visit visit) {
  std::size_t at = 0;
  bool first_words = true;
  for (const UnitField& field : layout.fields) {
    at = field_begin(at, field, first_words, layout.bytes);
    if (field.element_bytes == 4) first_words = false;
    for (std::int64_t block = 0; block < layout.blocks; ++block) {
      visit(field, block, at);
      at += field.element_bytes * field.count * kRows;
    }
  }
}

template <std::size_t kBytes>
void transpose(const std::byte* const* blocks, const UnitField& field, std::byte* out) {
  for (std::size_t e = 0; e < field.count; ++e) {
    for (std::size_t r = 0; r < kRows; ++r, out += kBytes) {
      std::memcpy(out, blocks[r] + field.offset + e * kBytes, kBytes);
    }
  }
}

using Words = std::uint32_t __attribute__((vector_size(16)));

Words load_words(const std::byte* from) {
  Words words;
  std::memcpy(&words, from, sizeof words);
  return words;
}

// Four words of all rows at a time, as 4 x 4 transpositions.
void transpose_words(const std::byte* const* blocks, const UnitField& field, std::byte* out) {
  for (std::size_t e = 0; e < field.count; e += 4, out += 4 * 4 * kRows) {
    for (std::size_t r = 0; r < kRows; r += 4) {
      Words in[4];
      for (std::size_t i = 0; i < 4; ++i) in[i] = load_words(blocks[r + i] + field.offset + 4 * e);
      const Words a = __builtin_shufflevector(in[0], in[1], 0, 4, 1, 5);
      const Words b = __builtin_shufflevector(in[0], in[1], 2, 6, 3, 7);
      const Words c = __builtin_shufflevector(in[2], in[3], 0, 4, 1, 5);
      const Words d = __builtin_shufflevector(in[2], in[3], 2, 6, 3, 7);
      const Words columns[4] = {__builtin_shufflevector(a, c, 0, 1, 4, 5), __builtin_shufflevector(a, c, 2, 3, 6, 7),
                                __builtin_shufflevector(b, d, 0, 1, 4, 5), __builtin_shufflevector(b, d, 2, 3, 6, 7)};
      for (std::size_t i = 0; i < 4; ++i) std::memcpy(out + i * 4 * kRows + 4 * r, &columns[i], sizeof columns[i]);
    }
  }
}

std::uint32_t spread_bits(std::uint32_t bits) {
  std::uint32_t out = 0;
  for (int word = 0; word < 8; ++word) {
    const std::uint32_t nibble = bits >> 4 * word & 15u;
    out |= (nibble * 0x00204081u & 0x01010101u) << word;
  }
  return out;
}

std::uint32_t gather_bits(std::uint32_t spread) {
  std::uint32_t out = 0;
  for (int word = 0; word < 8; ++word) {
    const std::uint32_t bits = spread >> word & 0x01010101u;
    out |= (bits * 0x01020408u >> 24 & 15u) << 4 * word;
  }
  return out;
}

void transpose_bits(const std::byte* const* blocks, const UnitField& field, std::byte* out) {
  for (std::size_t r = 0; r < kRows; ++r, out += 4) {
    std::uint32_t bits;
    std::memcpy(&bits, blocks[r] + field.offset, sizeof bits);
    bits = spread_bits(bits);
    std::memcpy(out, &bits, sizeof bits);
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
    transpose_words(from, {0, 4, static_cast<std::size_t>(whole)}, out);
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
  for (std::int64_t unit = first; unit < first + count; ++unit, out += layout.bytes) {
    if (layout.bytes % kLine == 0) std::memset(out, 0, kLine * 5);  // gaps lie in the first lines
    each_part(layout, [&](const UnitField& field, std::int64_t block, std::size_t at) {
      const std::int64_t index = unit * layout.blocks + block;
      const std::byte* from[kRows];
      for (std::size_t r = 0; r < kRows; ++r) {
        from[r] =
            rows[r] == nullptr || index >= blocks ? kZeros : rows[r] + static_cast<std::size_t>(index) * stored_bytes;
      }
      if (field.spread_bits) return transpose_bits(from, field, out + at);
      if (field.element_bytes == 4) return transpose_words(from, field, out + at);
      field.element_bytes == 2 ? transpose<2>(from, field, out + at) : transpose<1>(from, field, out + at);
    });
  }
}

void deinterleave_block(const UnitLayout& layout, const std::byte* group, std::int64_t row, std::int64_t block,
                        std::byte* out) {
  const std::byte* unit = group + static_cast<std::size_t>(block / layout.blocks) * layout.bytes;
  const auto r = static_cast<std::size_t>(row);
  each_part(layout, [&](const UnitField& field, std::int64_t in_unit, std::size_t at) {
    if (in_unit != block % layout.blocks) return;
    for (std::size_t e = 0; e < field.count; ++e) {
      const std::byte* from = unit + at + (e * kRows + r) * field.element_bytes;
      std::memcpy(out + field.offset + e * field.element_bytes, from, field.element_bytes);
    }
    if (!field.spread_bits) return;
    std::uint32_t bits;
    std::memcpy(&bits, out + field.offset, sizeof bits);
    bits = gather_bits(bits);
    std::memcpy(out + field.offset, &bits, sizeof bits);
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
