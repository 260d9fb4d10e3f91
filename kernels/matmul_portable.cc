#include "kernels/matmul_portable.h"

#include <algorithm>

#include "tensor/block_formats.h"

namespace junto {
namespace {

constexpr std::int64_t kTileRows = 16;  // rows of x that share one pass over a row of w
constexpr std::int64_t kLanes = 16;     // partial sums of a float dot product
constexpr std::int64_t kDecoded = 256;  // values of w decoded at once

// A tile of rows of x and where their results go.
struct Tile {
  std::int64_t count = 0;
  std::int64_t x[kTileRows];
  std::int64_t out[kTileRows];
};

Tile tile_at(std::int64_t begin, std::int64_t end, std::span<const std::int32_t> x_rows,
             std::span<const std::int32_t> out_rows) {
  Tile tile;
  tile.count = std::min(end - begin, kTileRows);
  for (std::int64_t i = 0; i < tile.count; ++i) {
    const auto at = static_cast<std::size_t>(begin + i);
    tile.x[i] = x_rows.empty() ? begin + i : x_rows[at];
    tile.out[i] = out_rows.empty() ? begin + i : out_rows[at];
  }
  return tile;
}

// sum over k of weights[k] * x[k]: kLanes sums of every kLanes-th product, then the lanes pairwise.
void add_products(const float* weights, const float* x, std::int64_t count, float* lanes) {
  std::int64_t k = 0;
  for (; k + kLanes <= count; k += kLanes) {
    for (std::int64_t l = 0; l < kLanes; ++l) lanes[l] += weights[k + l] * x[k + l];
  }
  for (std::int64_t l = 0; k + l < count; ++l) lanes[l] += weights[k + l] * x[k + l];
}

float sum_lanes(float* lanes) {
  for (std::int64_t half = kLanes / 2; half > 0; half /= 2) {
    for (std::int64_t l = 0; l < half; ++l) lanes[l] += lanes[l + half];
  }
  return lanes[0];
}

void dot_floats(const WeightMatrix& w, std::int64_t n, const ActivationRows& x, const Tile& tile,
                MatrixView<float> out) {
  const MatrixView<const float> floats = x.floats();
  float lanes[kTileRows][kLanes] = {};
  float weights[kDecoded];
  const std::byte* row = w.data + static_cast<std::size_t>(n) * w.row_bytes;
  for (std::int64_t k = 0; k < w.cols; k += kDecoded) {
    const std::int64_t count = std::min(kDecoded, w.cols - k);
    decode_values(w.type, row + bytes_of(w.type, k), {weights, static_cast<std::size_t>(count)});
    for (std::int64_t i = 0; i < tile.count; ++i) {
      add_products(weights, floats.data + tile.x[i] * floats.stride + k, count, lanes[i]);
    }
  }
  for (std::int64_t i = 0; i < tile.count; ++i) out.at(tile.out[i], n) = sum_lanes(lanes[i]);
}

// 32 columns: the integer sums are exact, whatever the scales.
float dot_group(const UnpackedBlock& block, std::int64_t at, const Q8Group& x) {
  float total = 0;
  for (int half = 0; half < 2; ++half) {
    std::int32_t dot = 0;
    const std::int8_t* quant = block.quant + at + 16 * half;
    for (int i = 0; i < 16; ++i) dot += quant[i] * x.quant[16 * half + i];
    const std::int64_t group = at / kGroupValues + half;
    total += block.scale[group] * static_cast<float>(dot) + block.min[group] * static_cast<float>(x.minus_sums16[half]);
  }
  return total;
}

void dot_q8(const WeightMatrix& w, const BlockFormat& format, std::int64_t n, const ActivationRows& x, const Tile& tile,
            MatrixView<float> out) {
  float totals[kTileRows] = {};
  UnpackedBlock block;
  const std::byte* bytes = w.data + static_cast<std::size_t>(n) * w.row_bytes;
  for (std::int64_t k = 0; k < w.cols; k += format.block_values, bytes += format.block_bytes) {
    format.unpack(bytes, block);
    for (std::int64_t i = 0; i < tile.count; ++i) {
      const Q8Group* groups = x.q8(tile.x[i]) + k / 32;
      for (std::int64_t at = 0; at < format.block_values; at += 32) {
        totals[i] += groups[at / 32].scale * dot_group(block, at, groups[at / 32]);
      }
    }
  }
  for (std::int64_t i = 0; i < tile.count; ++i) out.at(tile.out[i], n) = totals[i];
}

}  // namespace

void matmul_portable(const WeightMatrix& w, RowRange range, const ActivationRows& x,
                     std::span<const std::int32_t> x_rows, MatrixView<float> out,
                     std::span<const std::int32_t> out_rows) {
  const BlockFormat& format = block_format(w.type);
  const bool q8 = format.unpack != nullptr && x.has_q8();
  const std::int64_t count = x_rows.empty() ? x.rows() : static_cast<std::int64_t>(x_rows.size());
  for (std::int64_t m = 0; m < count; m += kTileRows) {
    const Tile tile = tile_at(m, count, x_rows, out_rows);
    for (std::int64_t n = range.begin; n < range.end; ++n) {
      if (q8) {
        dot_q8(w, format, n, x, tile, out);
      } else {
        dot_floats(w, n, x, tile, out);
      }
    }
  }
}

}  // namespace junto
