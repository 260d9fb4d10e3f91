// Element types of stored tensors. Numbers are those of GGUF (ggml_type), so that a file's value is the enum's value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace junto {

enum class DType : std::uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kIQ4_NL = 20,
  kIQ4_XS = 23,
  kI8 = 24,
  kI16 = 25,
  kI32 = 26,
  kI64 = 27,
  kF64 = 28,
  kBF16 = 30,
  kMXFP4 = 39,
  // Not in GGUF: found in safetensors only.
  kF8E4M3 = 0x10000,
  kU8 = 0x10001,
  kBool = 0x10002,
  kF8E5M2 = 0x10003,
};

/// Lower-case name as `junto quantize --type` takes it: "q4_0", "bf16".
std::string_view dtype_name(DType type);

/// Any letter case; empty where no such type exists.
std::optional<DType> dtype_from_name(std::string_view name);

/// True for values that this build knows (files carry arbitrary numbers).
bool is_known_dtype(std::uint32_t value);

/// Values in one block: 1 for plain types, 32 for Q4_0, 256 for the K-quants.
std::int64_t block_values(DType type);

/// Bytes of one block.
std::size_t block_bytes(DType type);

/// Bytes of `count` values; count must be a multiple of block_values(type).
std::size_t bytes_of(DType type, std::int64_t count);

/// True for block formats (Q*, IQ*, MXFP4): weights whose activations are quantised to Q8 by default.
bool is_quantised(DType type);

}  // namespace junto
