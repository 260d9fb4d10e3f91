// What the matrix kernels of an instruction set look like to matmul(): for each type, functions that add the products
// of 16 interleaved rows of w with a tile of rows of x to sums that the caller holds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/choose.h"
#include "kernels/matmul.h"

namespace junto {

/// Rows of w that stand side by side: kInterleavedRows, as the int that kernels count with.
inline constexpr int kInterleavedTileRows = 16;

/// Weights as integers in a kernel: how large, which bounds what a 16-bit sum may hold.
enum class WeightRange : std::uint8_t { kTwoBits, kThreeBits, kFourBits, kFiveBits, kSixBits, kSigned };

/// sums[t][r] += sum over k of w[r, k] * x[t, k], over `groups` groups of 32 columns; the last unit may hold only its
/// first ones. x[t] points at the group of the first column.
using Q8Kernel = void (*)(const std::byte* w, std::int64_t groups, const Q8Group* const* x, int tokens, float* sums);

/// The same for plain weights, over `values` columns.
using FloatKernel = void (*)(const std::byte* w, std::int64_t values, const float* const* x, int tokens, float* sums);

/// sums[r] = sum over k of w[r, k] * x[k], for one block of 32 outputs that lies by column (columns.h).
using ColumnKernel = void (*)(const std::byte* block, std::int64_t cols, const float* x, float* sums);

struct MatmulKernel {
  DType type = DType::kF32;
  Q8Kernel q8 = nullptr;         // block formats
  FloatKernel floats = nullptr;  // F32, F16, BF16
  int max_tile = 1;              // tokens that one call takes
  ColumnKernel columns = nullptr;
};

/// All rows of an instruction set; empty for kPortable, whose product is matmul_portable().
std::span<const MatmulKernel* const> matmul_kernels(Isa isa);

/// matmul() with the kernels of a given set.
void matmul_with(std::span<const MatmulKernel* const> kernels, const WeightMatrix& w, RowRange range,
                 const ActivationRows& x, std::span<const std::int32_t> x_rows, MatrixView<float> out,
                 std::span<const std::int32_t> out_rows);

/// Null where the set has none for `type`.
const MatmulKernel* find_kernel(std::span<const MatmulKernel* const> kernels, DType type);

}  // namespace junto
