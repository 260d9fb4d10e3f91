#include "kernels/interleave.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <new>
#include <string>

#include "base/error.h"
#include "base/large_pages.h"
#include "kernels/choose.h"
#include "kernels/columns.h"
#include "kernels/interleave_layouts.h"
#include "kernels/interleave_steps.h"
#include "tensor/block_formats.h"

namespace junto {

#if defined(__x86_64__)
extern const InterleaveTable kInterleaveAvx2;  // interleave_avx2.cc
#endif

namespace {

constexpr std::size_t kRows = kInterleavedRows;
constexpr std::size_t kLine = 64;

constexpr std::size_t kGroupColumns = 32;

struct InterleavePortable {};
using Steps = InterleaveSteps<InterleavePortable>;

constinit const InterleaveTable kInterleavePortable = Steps::table();

const InterleaveTable& choose_interleave() {
#if defined(__x86_64__)
  if (chosen_isa() != Isa::kPortable) return kInterleaveAvx2;  // AVX-512 has nothing to add here
#endif
  return kInterleavePortable;
}

// Repacks `values` quants of `bits` from runs of `from_run` bytes to runs of `to_run`: any of both.
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

/// The units along K: whole ones, and perhaps one that ends after the words of its first blocks.
struct UnitsOfRow {
  std::int64_t whole = 0;
  std::size_t rest_bytes = 0;  // 0: there is none
};

// 16 rows are 16 streams within few pages, which hardware does not foresee.
void prefetch_bytes(const std::byte* from, std::size_t bytes) {
  for (std::size_t at = 0; at < bytes; at += kLine) __builtin_prefetch(from + at, 0, 2);
}

UnitsOfRow units_per_row(const UnitLayout& layout, std::int64_t cols) {
  const std::int64_t blocks = (cols + block_values(layout.type) - 1) / block_values(layout.type);
  UnitsOfRow units{blocks / layout.blocks};
  const std::int64_t rest = blocks % layout.blocks;
  if (rest == 0) return units;
  std::size_t words_of_block = 0;
  for (const QuantPiece& piece : layout.pieces) words_of_block += piece.bits * kLine;
  units.rest_bytes = layout.bytes - words_of_block * static_cast<std::size_t>(layout.blocks - rest);
  return units;
}

const UnitLayout& layout_of(DType type) {
  const UnitLayout* layout = unit_layout(type);
  if (layout == nullptr) fail(dtype_name(type), "has no interleaved form");
  return *layout;
}

std::shared_ptr<std::byte> allocate_large_pages(std::size_t bytes) {
  const std::size_t rounded = (bytes + kLargePage - 1) / kLargePage * kLargePage;
  auto* memory = static_cast<std::byte*>(::operator new(rounded, std::align_val_t(kLargePage)));
  // A last page of which less than half is needed would cost more memory than it saves time.
  advise_large_pages(memory, (bytes + kLargePage / 2) / kLargePage * kLargePage);
  return {memory, [](std::byte* p) { ::operator delete(p, std::align_val_t(kLargePage)); }};
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
  const UnitsOfRow units = units_per_row(layout, cols);
  return static_cast<std::size_t>(units.whole) * layout.bytes + units.rest_bytes;
}

std::size_t interleaved_bytes(const WeightMatrix& w) {
  const std::size_t bytes =
      is_by_column(w.layout) ? column_block_bytes(w.type, w.cols) : interleaved_group_bytes(w.type, w.cols);
  return static_cast<std::size_t>(interleaved_groups(w)) * bytes;
}

std::int64_t interleaved_groups(const WeightMatrix& w) {
  const std::int64_t rows = is_by_column(w.layout) ? kColumnBlockRows : kInterleavedRows;
  return (w.rows + rows - 1) / rows;
}

void interleave_units(const UnitLayout& layout, const std::byte* const* rows, std::int64_t blocks, std::int64_t first,
                      std::int64_t count, std::byte* out) {
  static const InterleaveTable& table = choose_interleave();
  const InterleaveUnits run = table.units[&layout - kLayouts];
  if (!layout.pieces.empty()) return run(rows, blocks, first, count, out);
  // Plain values are read across the whole row, so an absent row needs as many zeros.
  std::vector<std::byte> zeros;
  const std::byte* present[kRows];
  for (std::size_t r = 0; r < kRows; ++r) {
    if (rows[r] == nullptr && zeros.empty()) zeros.resize(static_cast<std::size_t>(first + count) * layout.block_bytes);
    present[r] = rows[r] == nullptr ? zeros.data() : rows[r];
  }
  run(present, blocks, first, count, out);
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
  Steps::each_field(layout, [&](const SmallField& field, std::int64_t of, std::size_t at) {
    if (static_cast<std::size_t>(of) != in_unit) return;
    for (std::size_t e = 0; e < field.count; ++e) {
      const std::byte* from = unit + at + (e * kRows + r) * field.element_bytes;
      std::memcpy(out + field.offset + e * field.element_bytes, from, field.element_bytes);
    }
  });
  const std::size_t groups = static_cast<std::size_t>(block_values(layout.type)) / kGroupColumns;
  Steps::each_piece(layout, [&](const QuantPiece& piece, std::size_t at, std::size_t stride) {
    std::byte packed[256];
    for (std::size_t g = 0; g < groups; ++g) {
      const std::byte* from = unit + at + (in_unit * groups + g) * stride + 4 * r;
      for (std::size_t w = 0; w < piece.bits; ++w) std::memcpy(packed + 4 * (g * piece.bits + w), from + w * kLine, 4);
    }
    if (piece.bits == 8) {
      std::memcpy(out + piece.offset, packed, groups * kGroupColumns);
    } else {
      repack(piece.bits, groups * kGroupColumns, packed, Steps::unit_run(piece.bits), out + piece.offset, piece.run);
    }
  });
}

void interleave_groups(const WeightMatrix& w, RowRange groups, std::byte* out) {
  if (is_by_column(w.layout)) {
    for (std::int64_t block = groups.begin; block < groups.end; ++block) {
      make_column_block(w, block, out + static_cast<std::size_t>(block) * column_block_bytes(w.type, w.cols));
    }
    return;
  }
  const UnitLayout& layout = layout_of(w.type);
  const UnitsOfRow units = units_per_row(layout, w.cols);
  const std::size_t group_bytes = interleaved_group_bytes(w.type, w.cols);
  const std::int64_t blocks = w.cols / block_values(w.type);
  std::vector<std::byte> last(units.rest_bytes > 0 ? layout.bytes : 0);
  for (std::int64_t g = groups.begin; g < groups.end; ++g) {
    const std::byte* rows[kRows] = {};
    for (std::int64_t r = 0; r < kInterleavedRows && g * kInterleavedRows + r < w.rows; ++r) {
      rows[r] = w.data + static_cast<std::size_t>(g * kInterleavedRows + r) * w.row_bytes;
    }
    if (g + 1 < groups.end) {
      const std::int64_t next = (g + 1) * kInterleavedRows;
      const auto count = static_cast<std::size_t>(std::min(kInterleavedRows, w.rows - next));
      prefetch_bytes(w.data + static_cast<std::size_t>(next) * w.row_bytes, count * w.row_bytes);
    }
    std::byte* const to = out + static_cast<std::size_t>(g) * group_bytes;
    interleave_units(layout, rows, blocks, 0, units.whole, to);
    if (last.empty()) continue;
    interleave_units(layout, rows, blocks, units.whole, 1, last.data());
    std::copy_n(last.begin(), units.rest_bytes, to + group_bytes - units.rest_bytes);
  }
}

WeightMatrix interleaved_weights(DType type, std::int64_t rows, std::int64_t cols, const std::byte* data,
                                 std::shared_ptr<const void> keep_alive) {
  WeightMatrix stored;
  stored.type = type, stored.rows = rows, stored.cols = cols, stored.row_bytes = bytes_of(type, cols);
  return interleaved_weights(stored, data, std::move(keep_alive));
}

WeightMatrix interleaved_weights(const WeightMatrix& w, const std::byte* data, std::shared_ptr<const void> keep_alive) {
  const bool by_column = is_by_column(w.layout);
  if (by_column ? !has_column_blocks(w.type) : unit_layout(w.type) == nullptr) {
    fail(dtype_name(w.type), by_column ? "has no blocks of columns" : "has no interleaved form");
  }
  if (reinterpret_cast<std::uintptr_t>(data) % kInterleavedAlignment != 0) {
    fail("interleaved weights", "do not begin at a multiple of " + std::to_string(kInterleavedAlignment) + " bytes");
  }
  const WeightLayout layout = by_column ? WeightLayout::kColumnBlocks : WeightLayout::kInterleaved;
  return {w.type, w.rows, w.cols, w.row_bytes, data, std::move(keep_alive), layout};
}

std::shared_ptr<std::byte> allocate_weights(std::size_t bytes) {
  // Small matrices share slabs: in large pages a stream of weights runs on where it would else stop at every 4 KiB.
  constexpr std::size_t kSlab = std::size_t{32} << 20;
  static std::mutex mutex;
  static std::weak_ptr<std::byte> last;  // the slab that has room, as long as somebody uses it
  static std::size_t used = 0;
  const std::size_t rounded = (std::max<std::size_t>(bytes, 1) + kLine - 1) / kLine * kLine;
  if (rounded >= kLargePage) return allocate_large_pages(rounded);
  const std::lock_guard lock(mutex);
  std::shared_ptr<std::byte> slab = last.lock();
  if (slab == nullptr || used + rounded > kSlab) {
    slab = allocate_large_pages(kSlab);
    last = slab;
    used = 0;
  }
  std::byte* const memory = slab.get() + used;
  used += rounded;
  return {std::move(slab), memory};
}

bool interleaves_in_place(const WeightMatrix& w) {
  return w.layout == WeightLayout::kRows && unit_layout(w.type) != nullptr && w.rows % kInterleavedRows == 0 &&
         interleaved_group_bytes(w.type, w.cols) == kRows * w.row_bytes;
}

void interleave_in_place(const WeightMatrix& w, std::byte* data) {
  const std::size_t group_bytes = kRows * w.row_bytes;
  std::vector<std::byte> rows(group_bytes);  // of one group: it stays in a cache
  WeightMatrix group = w;
  group.rows = kInterleavedRows;
  group.data = rows.data();
  for (std::int64_t row = 0; row < w.rows; row += kInterleavedRows, data += group_bytes) {
    std::memcpy(rows.data(), data, group_bytes);
    if (row + kInterleavedRows < w.rows) prefetch_bytes(data + group_bytes, group_bytes);
    interleave_groups(group, {0, 1}, data);
  }
}

WeightMatrix interleave(const WeightMatrix& w, ThreadPool& pool) {
  std::shared_ptr<std::byte> memory = allocate_weights(interleaved_bytes(w));
  pool.for_each_block(interleaved_groups(w), [&](std::int64_t group, int) {
    interleave_groups(w, {group, group + 1}, memory.get());
  });
  return interleaved_weights(w, memory.get(), memory);
}

}  // namespace junto
