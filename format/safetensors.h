// safetensors: tensors of a Hugging Face checkpoint. Layout, little-endian:
//
//   file   = header_bytes:u64 header data
//   header = {"<name>": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [begin, end]}, "__metadata__": {"k": "v"}}
//
// Offsets count from the start of `data`; the tensors fill it without holes or overlaps. Specification:
// github.com/huggingface/safetensors, README "Format".
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "format/named_tensors.h"

namespace junto {

/// "__metadata__": free text by key, in file order.
using SafetensorsMetadata = std::vector<std::pair<std::string, std::string>>;

struct SafetensorsFile {
  SafetensorsMetadata metadata;
  NamedTensors tensors;  // in the order of their bytes
};

/// Reads one file held in memory (bytes.data() aligned to 8); `name` is what errors name. Tensors point into `bytes`
/// and share `keep_alive`; one whose offset does not fit its element's alignment is copied. Everything is checked:
/// header size (at most 100 MB), names and fields given twice, dtypes, shapes against offsets, holes, overlaps,
/// trailing bytes.
SafetensorsFile parse_safetensors(std::span<const std::byte> bytes, const std::string& name,
                                  std::shared_ptr<const void> keep_alive = nullptr);

/// Maps and reads a file.
SafetensorsFile open_safetensors(const std::string& path);

/// Writes a file, complete or not at all. Tensors keep their order; data starts on a multiple of 64 bytes. Throws Error
/// for names given twice, types that safetensors does not have, and producers that make too few or too many bytes.
void write_safetensors(const std::string& path, const std::vector<TensorToWrite>& tensors,
                       const SafetensorsMetadata& metadata = {}, const WriteProgress& progress = nullptr);

/// "BF16" for DType::kBF16; empty for types that safetensors does not have.
std::string_view safetensors_dtype(DType type);
std::optional<DType> dtype_from_safetensors(std::string_view name);

}  // namespace junto
