// GGUF: one file with metadata, tokenizer and tensors. Layout, little-endian:
//
//   file    = "GGUF" version:u32 tensor_count:u64 entry_count:u64 entry* info* padding data
//   entry   = key:string type:u32 value
//   string  = length:u64 bytes
//   array   = type:u32 count:u64 value*
//   info    = name:string dimension_count:u32 dimension:u64* type:u32 offset:u64
//   data    = tensors, each at `offset` from its start, a multiple of general.alignment (32 where not given)
//
// Dimensions are stored innermost first; in memory (Shape) they are outermost first. Versions 2 and 3 are the same on
// little-endian machines. Specification: ggml/docs/gguf.md in github.com/ggml-org/ggml.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "format/metadata.h"
#include "format/named_tensors.h"

namespace junto {

struct GgufFile {
  Metadata metadata;
  NamedTensors tensors;
  std::uint32_t version = 3;     // 2 or 3
  std::uint64_t alignment = 32;  // general.alignment: a power of two, at least 8
};

/// Reads one file held in memory; `name` is what errors name. Tensors point into `bytes` and share `keep_alive`. Every
/// size, count and offset is checked against bytes.size() first: memory and time are bounded by a small multiple of it.
GgufFile parse_gguf(std::span<const std::byte> bytes, const std::string& name,
                    std::shared_ptr<const void> keep_alive = nullptr);

/// Maps and reads a file. Any part of a split file (<prefix>-00001-of-00003.gguf) opens all parts; the result has the
/// metadata of the first part without split.* keys and the tensors of all.
GgufFile open_gguf(const std::string& path);

/// True where `bytes` start as a GGUF file of any version does.
bool looks_like_gguf(std::span<const std::byte> bytes);

/// Writes version 3, complete or not at all. Tensor data is aligned to general.alignment of `metadata` where it has
/// one, else to 32. Throws Error for names or keys given twice, types that GGUF does not have, more than four
/// dimensions, names of more than 63 bytes (which other readers refuse), and producers that make too few or too many
/// bytes.
void write_gguf(const std::string& path, const Metadata& metadata, const std::vector<TensorToWrite>& tensors,
                const WriteProgress& progress = nullptr);

}  // namespace junto
