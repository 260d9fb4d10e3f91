// The JSON header of a safetensors file, read without building a JSON tree.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "format/safetensors.h"

namespace junto {

struct SafetensorsEntry {
  std::string name;
  DType type = DType::kF32;
  Shape shape;
  std::uint64_t begin = 0;  // bytes from the start of the data
  std::uint64_t end = 0;
};

struct SafetensorsHeader {
  SafetensorsMetadata metadata;
  std::vector<SafetensorsEntry> entries;  // in the order of the text
};

/// Throws Error naming `file` for syntax errors, unknown or repeated fields, repeated names, unknown dtypes and numbers
/// that are negative or beyond 2^62. Does not compare shapes and offsets.
SafetensorsHeader parse_safetensors_header(std::string_view text, const std::string& file);

}  // namespace junto
