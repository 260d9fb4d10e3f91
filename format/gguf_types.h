// Numbers that GGUF gives to value types, and limits that reader and writer share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <tuple>
#include <variant>

#include "format/metadata.h"

namespace junto {

inline constexpr std::uint32_t kGgufArray = 9;
inline constexpr std::uint64_t kGgufDefaultAlignment = 32;
inline constexpr std::size_t kGgufMaxDimensions = 4;
inline constexpr int kGgufMaxArrayDepth = 8;

/// Types of GGUF in the order of its numbers; the array's own number has no scalar.
using GgufTypes = std::tuple<std::uint8_t, std::int8_t, std::uint16_t, std::int16_t, std::uint32_t, std::int32_t, float,
                             bool, std::string, MetadataArray, std::uint64_t, std::int64_t, double>;
inline constexpr std::uint32_t kGgufTypeCount = std::tuple_size_v<GgufTypes>;

/// The number of T: gguf_type_of<float>() is 6.
template <class T, std::uint32_t N = 0>
constexpr std::uint32_t gguf_type_of() {
  if constexpr (std::is_same_v<T, std::tuple_element_t<N, GgufTypes>>) {
    return N;
  } else {
    return gguf_type_of<T, N + 1>();
  }
}

/// Bytes from `position` to the next multiple of `alignment` (a power of two).
constexpr std::uint64_t padding_to(std::uint64_t position, std::uint64_t alignment) {
  return -position & (alignment - 1);
}

}  // namespace junto
