#include "tensor/block_formats.h"

#include <cmath>
#include <cstring>
#include <string>

#include "base/error.h"
#include "tensor/half.h"
#include "tensor/iq4_nl.h"
#include "tensor/iq4_xs.h"
#include "tensor/mxfp4.h"
#include "tensor/q2_k.h"
#include "tensor/q3_k.h"
#include "tensor/q4_0.h"
#include "tensor/q4_1.h"
#include "tensor/q4_k.h"
#include "tensor/q5_0.h"
#include "tensor/q5_1.h"
#include "tensor/q5_k.h"
#include "tensor/q6_k.h"
#include "tensor/q8_0.h"

namespace junto {
namespace {

template <class T>
void decode_number(const std::byte* in, float* out, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, in + i * static_cast<std::int64_t>(sizeof(T)), sizeof(T));
    out[i] = static_cast<float>(value);
  }
}

template <class Code, float (*widen)(Code)>
void decode_code(const std::byte* in, float* out, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    Code code;
    std::memcpy(&code, in + i * static_cast<std::int64_t>(sizeof(Code)), sizeof(Code));
    out[i] = widen(code);
  }
}

template <class Code, Code (*narrow)(float)>
void encode_code(const float* in, std::byte* out, std::int64_t count, const float* /*importance*/) {
  for (std::int64_t i = 0; i < count; ++i) {
    const Code code = narrow(in[i]);
    std::memcpy(out + i * static_cast<std::int64_t>(sizeof(Code)), &code, sizeof(Code));
  }
}

void decode_f32(const std::byte* in, float* out, std::int64_t count) {
  std::memcpy(out, in, static_cast<std::size_t>(count) * sizeof(float));
}

void encode_f32(const float* in, std::byte* out, std::int64_t count, const float* /*importance*/) {
  std::memcpy(out, in, static_cast<std::size_t>(count) * sizeof(float));
}

using U8 = std::uint8_t;
using U16 = std::uint16_t;

constexpr BlockFormat kFormats[] = {
    {DType::kF32, "f32", 1, 4, nullptr, decode_f32, encode_f32},
    {DType::kF16, "f16", 1, 2, nullptr, decode_code<U16, half_to_float>, encode_code<U16, float_to_half>},
    {DType::kBF16, "bf16", 1, 2, nullptr, decode_code<U16, bf16_to_float>, encode_code<U16, float_to_bf16>},
    {DType::kQ4_0, "q4_0", 32, sizeof(BlockQ4_0), unpack_q4_0, nullptr, encode_q4_0},
    {DType::kQ4_1, "q4_1", 32, sizeof(BlockQ4_1), unpack_q4_1, nullptr, encode_q4_1},
    {DType::kQ5_0, "q5_0", 32, sizeof(BlockQ5_0), unpack_q5_0, nullptr, encode_q5_0},
    {DType::kQ5_1, "q5_1", 32, sizeof(BlockQ5_1), unpack_q5_1, nullptr, encode_q5_1},
    {DType::kQ8_0, "q8_0", 32, sizeof(BlockQ8_0), unpack_q8_0, nullptr, encode_q8_0},
    {DType::kQ2_K, "q2_k", 256, sizeof(BlockQ2_K), unpack_q2_k, nullptr, encode_q2_k},
    {DType::kQ3_K, "q3_k", 256, sizeof(BlockQ3_K), unpack_q3_k, nullptr, encode_q3_k},
    {DType::kQ4_K, "q4_k", 256, sizeof(BlockQ4_K), unpack_q4_k, nullptr, encode_q4_k},
    {DType::kQ5_K, "q5_k", 256, sizeof(BlockQ5_K), unpack_q5_k, nullptr, encode_q5_k},
    {DType::kQ6_K, "q6_k", 256, sizeof(BlockQ6_K), unpack_q6_k, nullptr, encode_q6_k},
    {DType::kIQ4_NL, "iq4_nl", 32, sizeof(BlockIQ4_NL), unpack_iq4_nl, nullptr, encode_iq4_nl},
    {DType::kIQ4_XS, "iq4_xs", 256, sizeof(BlockIQ4_XS), unpack_iq4_xs, nullptr, encode_iq4_xs},
    {DType::kMXFP4, "mxfp4", 32, sizeof(BlockMXFP4), unpack_mxfp4, nullptr, encode_mxfp4},
    {DType::kF8E4M3, "f8_e4m3", 1, 1, nullptr, decode_code<U8, f8e4m3_to_float>, encode_code<U8, float_to_f8e4m3>},
    {DType::kF8E5M2, "f8_e5m2", 1, 1, nullptr, decode_code<U8, f8e5m2_to_float>, encode_code<U8, float_to_f8e5m2>},
    {DType::kF64, "f64", 1, 8, nullptr, decode_number<double>, nullptr},
    {DType::kI8, "i8", 1, 1, nullptr, decode_number<std::int8_t>, nullptr},
    {DType::kI16, "i16", 1, 2, nullptr, decode_number<std::int16_t>, nullptr},
    {DType::kI32, "i32", 1, 4, nullptr, decode_number<std::int32_t>, nullptr},
    {DType::kI64, "i64", 1, 8, nullptr, decode_number<std::int64_t>, nullptr},
    {DType::kU8, "u8", 1, 1, nullptr, decode_number<std::uint8_t>, nullptr},
    {DType::kBool, "bool", 1, 1, nullptr, decode_number<std::uint8_t>, nullptr},
};

}  // namespace

std::span<const BlockFormat> block_formats() {
  return kFormats;
}

const BlockFormat& block_format(DType type) {
  for (const BlockFormat& format : kFormats) {
    if (format.type == type) return format;
  }
  fail("tensor", "type is " + std::to_string(static_cast<std::uint32_t>(type)) + ", which this version does not know");
}

void decode_values(DType type, const std::byte* in, std::span<float> out) {
  const BlockFormat& format = block_format(type);
  const auto count = static_cast<std::int64_t>(out.size());
  bytes_of(type, count);    // checks that the count is whole blocks
  if (out.empty()) return;  // an empty tensor has no pointers to give to memcpy
  if (format.unpack == nullptr) return format.decode_plain(in, out.data(), count);
  UnpackedBlock block;
  for (std::int64_t at = 0; at < count; at += format.block_values, in += format.block_bytes) {
    format.unpack(in, block);
    for (std::int64_t i = 0; i < format.block_values; ++i) {
      const std::int64_t group = i / kGroupValues;
      out[static_cast<std::size_t>(at + i)] = block.scale[group] * block.quant[i] - block.min[group];
    }
  }
}

void encode_values(DType type, std::span<const float> in, std::byte* out, std::span<const float> importance) {
  const BlockFormat& format = block_format(type);
  const auto count = static_cast<std::int64_t>(in.size());
  bytes_of(type, count);
  if (format.encode == nullptr) fail(format.name, "cannot be encoded from floats");
  if (!importance.empty() && importance.size() != in.size()) {
    fail(format.name,
         "importance count is " + std::to_string(importance.size()) + ", expected " + std::to_string(in.size()));
  }
  if (format.unpack != nullptr) {
    for (std::size_t i = 0; i < in.size(); ++i) {
      if (!std::isfinite(in[i])) {
        fail(format.name, "value " + std::to_string(i) + " is " + std::to_string(in[i]) + ", expected finite numbers");
      }
    }
  }
  if (in.empty()) return;
  format.encode(in.data(), out, count, importance.empty() ? nullptr : importance.data());
}

}  // namespace junto
