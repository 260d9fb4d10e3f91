#include "kernels/matmul.h"

#include <algorithm>
#include <cassert>
#include <string>

#include "base/error.h"
#include "kernels/choose.h"
#include "kernels/columns.h"
#include "kernels/interleave.h"
#include "kernels/matmul_kernels.h"
#include "kernels/matmul_portable.h"
#include "tensor/block_formats.h"

namespace junto {
namespace {

constexpr std::int64_t kGroupRows = kInterleavedRows;
constexpr std::int64_t kChunk = 256;                  // columns: a multiple of every unit and of kFloatBlock
constexpr std::size_t kScratchBytes = 16 << 10;       // stored rows are interleaved in parts that stay in the L1 cache
constexpr std::size_t kWeightBlockBytes = 256 << 10;  // weights that stay in the L2 cache while tiles pass over them

// Buffers of one thread, kept from call to call.
struct Scratch {
  std::vector<std::byte> bytes;
  std::vector<float> sums;     // [rows of x, 16]
  std::vector<float> decoded;  // [16, kChunk]

  std::byte* units(std::size_t size) {
    if (bytes.size() < size + 64) bytes.resize(size + 64);
    const auto address = reinterpret_cast<std::uintptr_t>(bytes.data());
    return bytes.data() + (64 - address % 64) % 64;
  }
  float* zero_sums(std::int64_t rows) {
    sums.assign(static_cast<std::size_t>(rows * kGroupRows), 0.0f);
    return sums.data();
  }
};

Scratch& scratch() {
  static thread_local Scratch buffers;
  return buffers;
}

// `count` sums. A whole group is of a size that the compiler knows: no call.
template <std::int64_t kWhole>
void copy_outputs(const float* from, std::int64_t count, float* to) {
  if (count == kWhole)
    std::copy_n(from, kWhole, to);
  else
    std::copy_n(from, count, to);
}

struct Product {
  const WeightMatrix& w;
  RowRange range;
  const ActivationRows& x;
  std::span<const std::int32_t> x_rows;
  MatrixView<float> out;
  std::span<const std::int32_t> out_rows;
  const MatmulKernel& kernel;

  std::int64_t rows() const { return x_rows.empty() ? x.rows() : static_cast<std::int64_t>(x_rows.size()); }
  std::int64_t x_row(std::int64_t i) const { return x_rows.empty() ? i : x_rows[static_cast<std::size_t>(i)]; }
  std::int64_t out_row(std::int64_t i) const { return out_rows.empty() ? i : out_rows[static_cast<std::size_t>(i)]; }
  std::int64_t first_group() const { return range.begin / kGroupRows; }
  std::int64_t end_group() const { return (range.end + kGroupRows - 1) / kGroupRows; }

  /// Calls visit(first row, count) for tiles of nearly equal size, none larger than the kernel takes.
  template <class Visit>
  void each_tile(Visit visit) const {
    const std::int64_t count = rows(), tiles = (count + kernel.max_tile - 1) / kernel.max_tile;
    for (std::int64_t t = 0; t < tiles; ++t) {
      const std::int64_t begin = count * t / tiles;
      visit(begin, static_cast<int>(count * (t + 1) / tiles - begin));
    }
  }

  /// sums += interleaved columns [first, first + cols) of a group times rows [begin, begin + count) of x.
  void add(const std::byte* units, std::int64_t first, std::int64_t cols, std::int64_t begin, int count,
           float* sums) const {
    if (kernel.q8 != nullptr) {
      const Q8Group* groups[8];
      for (int t = 0; t < count; ++t) groups[t] = x.q8(x_row(begin + t)) + first / 32;
      kernel.q8(units, cols / 32, groups, count, sums);
    } else {
      const MatrixView<const float> floats = x.floats();
      const float* values[8];
      for (int t = 0; t < count; ++t) values[t] = floats.data + x_row(begin + t) * floats.stride + first;
      kernel.floats(units, cols, values, count, sums);
    }
  }

  /// Copies to `out` what the range has of a group's sums.
  void write(std::int64_t group, std::int64_t begin, std::int64_t count, const float* sums) const {
    const std::int64_t first = std::max(range.begin, group * kGroupRows);
    const std::int64_t end = std::min(range.end, (group + 1) * kGroupRows);
    for (std::int64_t i = 0; i < count; ++i) {
      const float* from = sums + i * kGroupRows + first % kGroupRows;
      copy_outputs<kGroupRows>(from, end - first, out.data + out_row(begin + i) * out.stride + first);
    }
  }
};

void multiply_interleaved(const Product& p) {
  const std::size_t group_bytes = interleaved_group_bytes(p.w.type, p.w.cols);
  const auto block =
      static_cast<std::int64_t>(std::max<std::size_t>(1, kWeightBlockBytes / std::max<std::size_t>(group_bytes, 1)));
  for (std::int64_t g = p.first_group(); g < p.end_group(); g += block) {
    const std::int64_t end = std::min(g + block, p.end_group());
    p.each_tile([&](std::int64_t begin, int count) {
      for (std::int64_t group = g; group < end; ++group) {
        alignas(64) float sums[8 * kGroupRows];
        std::fill_n(sums, count * kGroupRows, 0.0f);  // one row of a decoding step clears a line, not eight
        p.add(p.w.data + static_cast<std::size_t>(group) * group_bytes, 0, p.w.cols, begin, count, sums);
        p.write(group, begin, count, sums);
      }
    });
  }
}

// Groups of rows that are brought into interleaved form part by part: prepare(group, first column, columns) returns it.
template <class Prepare>
void multiply_prepared(const Product& p, std::int64_t chunk, Prepare prepare) {
  for (std::int64_t group = p.first_group(); group < p.end_group(); ++group) {
    float* sums = scratch().zero_sums(p.rows());
    for (std::int64_t first = 0; first < p.w.cols; first += chunk) {
      const std::int64_t cols = std::min(chunk, p.w.cols - first);
      const std::byte* units = prepare(group, first, cols);
      p.each_tile(
          [&](std::int64_t begin, int count) { p.add(units, first, cols, begin, count, sums + begin * kGroupRows); });
    }
    p.write(group, 0, p.rows(), sums);
  }
}

void multiply_stored(const Product& p) {
  const UnitLayout& layout = *unit_layout(p.w.type);
  const std::int64_t block_cols = block_values(p.w.type), unit_cols = layout.blocks * block_cols;
  const std::size_t chunk_bytes = static_cast<std::size_t>(kChunk / unit_cols) * layout.bytes;
  const std::int64_t chunk = kChunk * static_cast<std::int64_t>(std::max<std::size_t>(1, kScratchBytes / chunk_bytes));
  std::byte* units = scratch().units(static_cast<std::size_t>(chunk / unit_cols) * layout.bytes);
  multiply_prepared(p, chunk, [&](std::int64_t group, std::int64_t first, std::int64_t cols) {
    const std::byte* rows[kGroupRows] = {};
    for (std::int64_t r = 0; r < kGroupRows && group * kGroupRows + r < p.w.rows; ++r) {
      rows[r] = p.w.data + static_cast<std::size_t>(group * kGroupRows + r) * p.w.row_bytes;
    }
    interleave_units(layout, rows, p.w.cols / block_cols, first / unit_cols, (cols + unit_cols - 1) / unit_cols, units);
    return units;
  });
}

// Values [first, first + out.size()) of a row, both multiples of the type's block.
void decode_part(const WeightMatrix& w, std::int64_t row, std::int64_t first, std::span<float> out) {
  const std::int64_t block_cols = block_values(w.type);
  const std::size_t stored = block_bytes(w.type);
  if (w.layout == WeightLayout::kRows) {
    const std::size_t at = static_cast<std::size_t>(first / block_cols) * stored;
    return decode_values(w.type, w.data + static_cast<std::size_t>(row) * w.row_bytes + at, out);
  }
  const UnitLayout& layout = *unit_layout(w.type);
  const std::byte* group =
      w.data + static_cast<std::size_t>(row / kGroupRows) * interleaved_group_bytes(w.type, w.cols);
  std::byte block[256];  // of any format
  for (std::size_t i = 0; i < out.size(); i += static_cast<std::size_t>(block_cols)) {
    const std::int64_t index = (first + static_cast<std::int64_t>(i)) / block_cols;
    deinterleave_block(layout, group, row % kGroupRows, index, block);
    decode_values(w.type, block, out.subspan(i, static_cast<std::size_t>(block_cols)));
  }
}

// Quantised weights with float activations: decoded to F32, part by part.
void multiply_decoded(const Product& p) {
  Scratch& buffers = scratch();
  auto* units = reinterpret_cast<float*>(buffers.units(kChunk * kGroupRows * sizeof(float)));
  buffers.decoded.resize(kChunk);
  multiply_prepared(p, kChunk, [&](std::int64_t group, std::int64_t first, std::int64_t cols) {
    for (std::int64_t r = 0; r < kGroupRows; ++r) {
      const std::int64_t row = std::min(group * kGroupRows + r, p.w.rows - 1);  // beyond the end: not written
      const std::span<float> values(buffers.decoded.data(), static_cast<std::size_t>(cols));
      decode_part(p.w, row, first, values);
      for (std::int64_t k = 0; k < cols; ++k) units[k * kGroupRows + r] = values[static_cast<std::size_t>(k)];
    }
    return reinterpret_cast<const std::byte*>(units);
  });
}

// Columns are decoded to F32 and so do without the Q8 form of activations. Outputs of one stored block are decoded
// together; `p.kernel` is that of F32.
void multiply_decoded_columns(const Product& p) {
  const std::int64_t together = std::max(block_values(p.w.type), kGroupRows);
  Scratch& buffers = scratch();
  auto* units = reinterpret_cast<float*>(buffers.units(static_cast<std::size_t>(kChunk * together) * sizeof(float)));
  for (std::int64_t row = p.range.begin / together * together; row < p.range.end; row += together) {
    const std::int64_t groups = (std::min(together, p.w.rows - row) + kGroupRows - 1) / kGroupRows;
    float* sums = buffers.zero_sums(p.rows() * groups);
    for (std::int64_t first = 0; first < p.w.cols; first += kChunk) {
      const std::int64_t cols = std::min(kChunk, p.w.cols - first);
      decode_columns(p.w, row, groups * kGroupRows, first, cols, units);
      for (std::int64_t g = 0; g < groups; ++g) {
        const auto* group = reinterpret_cast<const std::byte*>(units + g * cols * kGroupRows);
        p.each_tile([&](std::int64_t begin, int count) {
          p.add(group, first, cols, begin, count, sums + (g * p.rows() + begin) * kGroupRows);
        });
      }
    }
    for (std::int64_t g = 0; g < groups; ++g) {
      const std::int64_t group = row / kGroupRows + g;
      if (group >= p.first_group() && group < p.end_group())
        p.write(group, 0, p.rows(), sums + g * p.rows() * kGroupRows);
    }
  }
}

// One block of outputs, whose form of kColumnBlocks stands at `at`.
void multiply_column_block(const Product& p, const MatrixView<const float>& floats, std::int64_t block,
                           const std::byte* at) {
  const std::int64_t first = std::max(p.range.begin, block * kColumnBlockRows);
  const std::int64_t end = std::min(p.range.end, (block + 1) * kColumnBlockRows);
  for (std::int64_t i = 0; i < p.rows(); ++i) {
    alignas(64) float sums[kColumnBlockRows];
    p.kernel.columns(at, p.w.cols, floats.data + p.x_row(i) * floats.stride, sums);
    const float* from = sums + first % kColumnBlockRows;
    copy_outputs<kColumnBlockRows>(from, end - first, p.out.data + p.out_row(i) * p.out.stride + first);
  }
}

void multiply_columns(const Product& p) {
  const std::size_t bytes = column_block_bytes(p.w.type, p.w.cols);
  const bool stored = p.w.layout == WeightLayout::kColumns;
  const MatrixView<const float> floats = p.x.floats();
  std::byte* made = stored ? scratch().units(bytes) : nullptr;
  for (std::int64_t block = p.range.begin / kColumnBlockRows; block * kColumnBlockRows < p.range.end; ++block) {
    if (stored) make_column_block(p.w, block, made);
    multiply_column_block(p, floats, block, stored ? made : p.w.data + static_cast<std::size_t>(block) * bytes);
  }
}

// The reference on some rows that were brought into the stored layout: `part_at` makes [begin, end) of them.
template <class PartAt>
void multiply_parts_portable(RowRange range, const ActivationRows& x, std::span<const std::int32_t> x_rows,
                             MatrixView<float> out, std::span<const std::int32_t> out_rows, PartAt part_at) {
  for (std::int64_t begin = range.begin; begin < range.end;) {
    const std::int64_t end = std::min(range.end, (begin / kGroupRows + 1) * kGroupRows);
    MatrixView<float> shifted = out;
    shifted.data += begin;
    matmul_portable(part_at(begin, end), {0, end - begin}, x, x_rows, shifted, out_rows);
    begin = end;
  }
}

void multiply_columns_portable(const WeightMatrix& w, RowRange range, const ActivationRows& x,
                               std::span<const std::int32_t> x_rows, MatrixView<float> out,
                               std::span<const std::int32_t> out_rows) {
  std::vector<float> rows(static_cast<std::size_t>(kGroupRows * w.cols));
  multiply_parts_portable(range, x, x_rows, out, out_rows, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      decode_row_of_columns(w, n, std::span(rows).subspan(static_cast<std::size_t>((n - begin) * w.cols)));
    }
    const std::size_t row_bytes = static_cast<std::size_t>(w.cols) * sizeof(float);
    return WeightMatrix{DType::kF32, end - begin, w.cols, row_bytes, reinterpret_cast<const std::byte*>(rows.data()),
                        nullptr,     {}};
  });
}

// The reference on rows brought back from the interleaved layout, one group at a time.
void multiply_interleaved_portable(const WeightMatrix& w, RowRange range, const ActivationRows& x,
                                   std::span<const std::int32_t> x_rows, MatrixView<float> out,
                                   std::span<const std::int32_t> out_rows) {
  const UnitLayout& layout = *unit_layout(w.type);
  const std::size_t group_bytes = interleaved_group_bytes(w.type, w.cols), stored = block_bytes(w.type);
  const std::int64_t blocks = w.cols / block_values(w.type);
  std::vector<std::byte> rows(kGroupRows * w.row_bytes);
  multiply_parts_portable(range, x, x_rows, out, out_rows, [&](std::int64_t begin, std::int64_t end) {
    const std::byte* group = w.data + static_cast<std::size_t>(begin / kGroupRows) * group_bytes;
    for (std::int64_t n = begin; n < end; ++n) {
      std::byte* row = rows.data() + static_cast<std::size_t>(n - begin) * w.row_bytes;
      for (std::int64_t b = 0; b < blocks; ++b, row += stored) {
        deinterleave_block(layout, group, n % kGroupRows, b, row);
      }
    }
    return WeightMatrix{w.type, end - begin, w.cols, w.row_bytes, rows.data(), nullptr, {}};
  });
}

}  // namespace

std::size_t WeightMatrix::bytes() const {
  const bool stored = layout == WeightLayout::kRows || layout == WeightLayout::kColumns;
  return stored ? stored_bytes() : interleaved_bytes(*this);
}

WeightMatrix make_weights(const Tensor& tensor) {
  if (tensor.shape.size() != 2) fail("weights", "shape is " + to_string(tensor.shape) + ", expected two dimensions");
  WeightMatrix w{
      tensor.type, tensor.shape[0], tensor.shape[1], tensor.row_bytes(), tensor.bytes.data(), tensor.keep_alive, {}};
  if (block_format(w.type).encode == nullptr) {
    fail("weights", "type is " + std::string(dtype_name(w.type)) + ", expected one that holds real numbers");
  }
  if (tensor.bytes.size() < w.bytes()) {
    fail("weights", "size is " + std::to_string(tensor.bytes.size()) + " bytes, expected " + std::to_string(w.bytes()));
  }
  return w;
}

WeightMatrix make_column_weights(const Tensor& tensor) {
  WeightMatrix w = make_weights(tensor);
  std::swap(w.rows, w.cols);
  w.layout = WeightLayout::kColumns;
  return w;
}

void decode_row(const WeightMatrix& w, std::int64_t r, std::span<float> out) {
  assert(0 <= r && r < w.rows && static_cast<std::int64_t>(out.size()) >= w.cols);
  if (is_by_column(w.layout)) return decode_row_of_columns(w, r, out);
  decode_part(w, r, 0, out.first(static_cast<std::size_t>(w.cols)));
}

void matmul_with(std::span<const MatmulKernel* const> kernels, const WeightMatrix& w, RowRange range,
                 const ActivationRows& x, std::span<const std::int32_t> x_rows, MatrixView<float> out,
                 std::span<const std::int32_t> out_rows) {
  assert(x.cols() == w.cols && 0 <= range.begin && range.end <= w.rows && range.end <= out.cols);
  assert(x_rows.empty() || out_rows.empty() || x_rows.size() == out_rows.size());
  const MatmulKernel* kernel = find_kernel(kernels, w.type);
  const bool by_column = is_by_column(w.layout), q8 = takes_q8(w) && x.has_q8();
  const bool decoded = !q8 && (by_column || is_quantised(w.type));
  if (decoded) kernel = find_kernel(kernels, DType::kF32);
  if (kernel == nullptr && by_column) return multiply_columns_portable(w, range, x, x_rows, out, out_rows);
  if (kernel == nullptr) {
    return w.layout == WeightLayout::kRows ? matmul_portable(w, range, x, x_rows, out, out_rows)
                                           : multiply_interleaved_portable(w, range, x, x_rows, out, out_rows);
  }
  const Product product{w, range, x, x_rows, out, out_rows, *kernel};
  if (product.rows() == 0 || range.begin >= range.end) return;
  if (by_column) return decoded ? multiply_decoded_columns(product) : multiply_columns(product);
  if (decoded) return multiply_decoded(product);
  w.layout == WeightLayout::kRows ? multiply_stored(product) : multiply_interleaved(product);
}

void matmul(const WeightMatrix& w, RowRange range, const ActivationRows& x, std::span<const std::int32_t> x_rows,
            MatrixView<float> out, std::span<const std::int32_t> out_rows) {
  static const std::span<const MatmulKernel* const> kernels = matmul_kernels(chosen_isa());
  matmul_with(kernels, w, range, x, x_rows, out, out_rows);
}

bool takes_q8(const WeightMatrix& w) {
  return is_by_column(w.layout) ? has_column_blocks(w.type) : is_quantised(w.type);
}

bool gains_from_interleaving(const WeightMatrix& w) {
  if (find_kernel(matmul_kernels(chosen_isa()), w.type) == nullptr) return false;
  if (w.layout == WeightLayout::kColumns) return has_column_blocks(w.type);
  return w.layout == WeightLayout::kRows && unit_layout(w.type) != nullptr;
}

std::int64_t matmul_block_rows(const WeightMatrix& w) {
  // A claim costs about 0.1 us, reading 64 KiB of weights 2 us or more.
  constexpr std::size_t kBlockBytes = 64 << 10;
  const std::int64_t together = matmul_group_rows(w);
  const std::size_t row_bytes = w.stored_bytes() / static_cast<std::size_t>(std::max<std::int64_t>(w.rows, 1));
  const auto rows = static_cast<std::int64_t>(kBlockBytes / std::max<std::size_t>(row_bytes, 1));
  return std::clamp<std::int64_t>(rows / together * together, together, 256);
}

std::int64_t matmul_group_rows(const WeightMatrix& w) {
  return is_by_column(w.layout) ? std::max(block_values(w.type), kGroupRows) : kGroupRows;
}

Pieces::Pieces(std::size_t bytes, std::int64_t groups, int threads)
    : groups_(groups), shares_(std::min<std::int64_t>(groups, threads)) {
  constexpr std::size_t kLeastBytes = 32 << 10;  // claiming less would count
  if (shares_ < 2) return;
  const std::int64_t least_share = groups / shares_;
  const std::size_t group_bytes = bytes / static_cast<std::size_t>(groups);
  const auto last_piece = [&](std::int64_t pieces) { return least_share >> (pieces - 1); };
  while (last_piece(per_share_ + 1) >= 1 &&
         static_cast<std::size_t>(last_piece(per_share_ + 1)) * group_bytes >= kLeastBytes) {
    ++per_share_;
  }
}

std::int64_t Pieces::begin(std::int64_t i) const {
  if (i == count()) return groups_;
  const std::int64_t share = i / per_share_, first = groups_ * share / shares_;
  const std::int64_t own = groups_ * (share + 1) / shares_ - first;
  return first + own - (own >> (i % per_share_));
}

std::string_view active_isa() {
  return isa_name(chosen_isa());
}

}  // namespace junto
