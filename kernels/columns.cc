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

/// How quants of a type are stored and grouped: unsigned, the fifth bit apart from the nibbles, or as they are.
struct ColumnLayout {
  DType type;
  int bits;    // of a quant: 8, 5 or 4
  int offset;  // a quant that is not signed stands for this much less

  std::size_t high_bytes() const { return bits == 5 ? 4 : 0; }  // of a stored block
};

constexpr ColumnLayout kColumnLayouts[] = {{DType::kQ8_0, 8, 0}, {DType::kQ5_0, 5, 16}, {DType::kQ4_0, 4, 8}};

const ColumnLayout* column_layout(DType type) {
  const auto* found = std::ranges::find(kColumnLayouts, type, &ColumnLayout::type);
  return found == std::end(kColumnLayouts) ? nullptr : found;
}

/// A column's place in a block of outputs.
struct ColumnPlace {
  std::size_t group;   // where its group begins
  std::size_t scale;   // where its scale stands
  std::int64_t words;  // of the group, for Q8_0
  std::int64_t word;   // its own
  std::int64_t byte;   // in the word

  ColumnPlace(DType type, std::int64_t cols, std::int64_t column) {
    const std::int64_t index = column / kColumnGroup, in_group = column % kColumnGroup;
    group = static_cast<std::size_t>(index) * column_group_bytes(type, kColumnGroup);
    scale = group + static_cast<std::size_t>(in_group) * kScaleBytes;
    words = column_words(std::min(kColumnGroup, cols - index * kColumnGroup));
    word = in_group / 4;
    byte = in_group % 4;
  }
};

// A quant as some bits of one byte and, where there is a fifth one, a bit of another.
struct QuantPlace {
  std::size_t low, high;
  int low_shift, high_shift;
};

QuantPlace grouped_place(const ColumnLayout& layout, const ColumnPlace& column, std::int64_t row) {
  const std::int64_t half = row / kHalfRows, at = row % kHalfRows * 4 + column.byte;
  if (layout.bits == 8) {
    const auto words = static_cast<std::size_t>(64 * (half * column.words + column.word) + at);
    return {column.group + kColumnScaleBytes + words, 0, 0, 0};
  }
  const std::size_t part = column.group + kColumnScaleBytes + static_cast<std::size_t>(half * 64 * layout.bits);
  const auto nibbles = static_cast<std::size_t>(64 * (layout.bits - 4 + column.word % 4) + at);
  return {part + nibbles, part + static_cast<std::size_t>(at), static_cast<int>(column.word / 4 * 4),
          static_cast<int>(column.word)};
}

QuantPlace stored_place(const ColumnLayout& layout, std::int64_t row) {
  if (layout.bits == 8) return {kScaleBytes + static_cast<std::size_t>(row), 0, 0, 0};
  return {kScaleBytes + layout.high_bytes() + static_cast<std::size_t>(row % kHalfRows),
          kScaleBytes + static_cast<std::size_t>(row / 8), static_cast<int>(row / kHalfRows * 4),
          static_cast<int>(row % 8)};
}

unsigned quant_at(const ColumnLayout& layout, const std::byte* from, const QuantPlace& place) {
  const unsigned low = std::to_integer<unsigned>(from[place.low]) >> place.low_shift;
  if (layout.bits == 8) return low;
  const unsigned high = layout.bits == 5 ? std::to_integer<unsigned>(from[place.high]) >> place.high_shift & 1 : 0;
  return (low & 15) | high << 4;
}

// Bits that are still zero.
void put_quant(const ColumnLayout& layout, std::byte* to, const QuantPlace& place, unsigned quant) {
  const unsigned low = layout.bits == 8 ? quant : quant & 15;
  to[place.low] |= static_cast<std::byte>(low << place.low_shift);
  if (layout.bits == 5) to[place.high] |= static_cast<std::byte>(quant >> 4 << place.high_shift);
}

// A block of outputs of kColumnBlocks `w`.
const std::byte* block_at(const WeightMatrix& w, std::int64_t block) {
  return w.data + static_cast<std::size_t>(block) * column_block_bytes(w.type, w.cols);
}

// Outputs [row, row + rows_together()) of one column; what is beyond the end is zero.
void decode_together(const WeightMatrix& w, std::int64_t column, std::int64_t row, float* out) {
  if (w.layout == WeightLayout::kColumns) {
    const std::int64_t together = rows_together(w.type), there = std::min(together, w.rows - row);
    const std::byte* stored = w.data + static_cast<std::size_t>(column) * w.row_bytes + bytes_of(w.type, row);
    decode_values(w.type, stored, {out, static_cast<std::size_t>(there)});
    return std::fill(out + there, out + together, 0.0f);
  }
  const ColumnLayout& layout = *column_layout(w.type);
  const ColumnPlace place(w.type, w.cols, column);
  const std::byte* block = block_at(w, row / kColumnBlockRows);
  std::uint16_t half;
  std::memcpy(&half, block + place.scale, sizeof half);
  const float scale = half_to_float(half);
  for (std::int64_t r = 0; r < kColumnBlockRows; ++r) {
    const unsigned quant = quant_at(layout, block, grouped_place(layout, place, r));
    const int value = layout.bits == 8 ? static_cast<std::int8_t>(quant) : static_cast<int>(quant) - layout.offset;
    out[r] = scale * static_cast<float>(value);
  }
}

}  // namespace

bool has_column_blocks(DType type) {
  return column_layout(type) != nullptr;
}

std::size_t column_group_bytes(DType type, std::int64_t cols) {
  const int bits = column_layout(type)->bits;
  const auto words = static_cast<std::size_t>(bits == 8 ? column_words(cols) : bits);  // 64 bytes of 16 outputs each
  return kColumnScaleBytes + 2 * 64 * words;
}

std::size_t column_block_bytes(DType type, std::int64_t cols) {
  const std::int64_t rest = cols % kColumnGroup;
  return static_cast<std::size_t>(cols / kColumnGroup) * column_group_bytes(type, kColumnGroup) +
         (rest > 0 ? column_group_bytes(type, rest) : 0);
}

void make_column_block(const WeightMatrix& w, std::int64_t block, std::byte* out) {
  const ColumnLayout& layout = *column_layout(w.type);
  std::memset(out, 0, column_block_bytes(w.type, w.cols));
  const std::byte* from = w.data + static_cast<std::size_t>(block) * block_bytes(w.type);
  for (std::int64_t k = 0; k < w.cols; ++k, from += w.row_bytes) {
    const ColumnPlace place(w.type, w.cols, k);
    std::memcpy(out + place.scale, from, kScaleBytes);
    for (std::int64_t r = 0; r < kColumnBlockRows; ++r)
      put_quant(layout, out, grouped_place(layout, place, r), quant_at(layout, from, stored_place(layout, r)));
  }
}

void restore_column(const WeightMatrix& w, std::int64_t column, std::byte* out) {
  const ColumnLayout& layout = *column_layout(w.type);
  const ColumnPlace place(w.type, w.cols, column);
  for (std::int64_t row = 0; row < w.rows; row += kColumnBlockRows, out += block_bytes(w.type)) {
    const std::byte* block = block_at(w, row / kColumnBlockRows);
    std::memset(out, 0, block_bytes(w.type));
    std::memcpy(out, block + place.scale, kScaleBytes);
    for (std::int64_t r = 0; r < kColumnBlockRows; ++r)
      put_quant(layout, out, stored_place(layout, r), quant_at(layout, block, grouped_place(layout, place, r)));
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
