// The table of element formats: one row per DType. A block format's own file (q4_0.h, q4_k.h, ...) has its layout, how
// a block unpacks into small integers with scales, and how floats are encoded; everything else follows from the row.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "tensor/dtype.h"

namespace junto {

/// Values that share one scale at the finest: every format's groups are 16 values or multiples of it.
inline constexpr int kGroupValues = 16;

/// One block taken apart: value i is scale[i / 16] * quant[i] - min[i / 16], in float, in this order of operations.
/// This is the definition of a format; decoding and the portable dot product are built on it.
struct UnpackedBlock {
  std::int8_t quant[256];
  float scale[256 / kGroupValues];
  float min[256 / kGroupValues];
};

struct BlockFormat {
  DType type;
  std::string_view name;
  std::int64_t block_values;
  std::size_t block_bytes;
  /// Takes one block apart; null for plain types.
  void (*unpack)(const std::byte* block, UnpackedBlock& out);
  /// Plain types only; block formats decode through `unpack`.
  void (*decode_plain)(const std::byte* in, float* out, std::int64_t count);
  /// Encodes `count` finite values, a multiple of block_values. `importance` (null, or one weight >= 0 per value)
  /// scales each value's squared error. Null where floats cannot be stored (integers).
  void (*encode)(const float* in, std::byte* out, std::int64_t count, const float* importance);
};

/// All rows.
std::span<const BlockFormat> block_formats();

/// The row of `type`. Throws Error for numbers that name no type.
const BlockFormat& block_format(DType type);

/// `out.size()` values of `type`, a multiple of its block, starting at `in`.
void decode_values(DType type, const std::byte* in, std::span<float> out);

/// Encodes in.size() values, a multiple of the type's block, into bytes_of(type, in.size()) bytes. Error where a block
/// format gets a value that is not finite, or `type` cannot hold floats. Magnitudes beyond a format's range saturate.
void encode_values(DType type, std::span<const float> in, std::byte* out, std::span<const float> importance = {});

}  // namespace junto
