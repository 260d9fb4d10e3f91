#include "tensor/dtype.h"

#include <algorithm>
#include <cctype>
#include <string>

#include "base/error.h"
#include "tensor/block_formats.h"

namespace junto {

std::string_view dtype_name(DType type) {
  return block_format(type).name;
}

std::optional<DType> dtype_from_name(std::string_view name) {
  const auto same = [](char a, char b) {
    return std::tolower(static_cast<unsigned char>(a)) == std::tolower(static_cast<unsigned char>(b));
  };
  for (const BlockFormat& format : block_formats()) {
    if (std::equal(name.begin(), name.end(), format.name.begin(), format.name.end(), same)) return format.type;
  }
  return std::nullopt;
}

bool is_known_dtype(std::uint32_t value) {
  return std::any_of(block_formats().begin(), block_formats().end(),
                     [&](const BlockFormat& format) { return static_cast<std::uint32_t>(format.type) == value; });
}

std::int64_t block_values(DType type) {
  return block_format(type).block_values;
}

std::size_t block_bytes(DType type) {
  return block_format(type).block_bytes;
}

std::size_t bytes_of(DType type, std::int64_t count) {
  const BlockFormat& format = block_format(type);
  if (count < 0 || count % format.block_values != 0) {
    fail(format.name,
         "value count is " + std::to_string(count) + ", expected a multiple of " + std::to_string(format.block_values));
  }
  std::size_t bytes = 0;
  if (__builtin_mul_overflow(static_cast<std::size_t>(count / format.block_values), format.block_bytes, &bytes)) {
    fail(format.name, "value count is " + std::to_string(count) + ", expected one whose bytes can be addressed");
  }
  return bytes;
}

bool is_quantised(DType type) {
  return block_format(type).unpack != nullptr;
}

}  // namespace junto
