// junto pack: a GGUF file whose experts stand as the store wants them (format/packed_experts.h), and back again.
#pragma once

#include <cstdint>
#include <string>

#include "format/checkpoint.h"
#include "format/named_tensors.h"
#include "format/packed_experts.h"

namespace junto {

struct PackReport {
  std::int64_t experts = 0;  // that are packed
  std::uint64_t source_bytes = 0;
  std::uint64_t bytes = 0;
};

/// What the packed file will have, tensors and alignment included, but for the metadata. Throws as pack() does.
std::uint64_t packed_file_bytes(const Checkpoint& source);

/// Writes `source` packed. Throws Error where it is no GGUF file, is packed already, or has no stacked experts.
PackReport pack(const Checkpoint& source, const std::string& out, const WriteProgress& progress = nullptr);

/// Writes the source's tensors again, bit for bit. Throws Error where `source` is not packed, or its experts are not
/// those that were packed (SHA-256).
PackReport unpack(const Checkpoint& source, const std::string& out, const WriteProgress& progress = nullptr);

/// SHA-256 of the source's tensors as they would be restored; throws Error naming both digests where it is not the one
/// that was recorded.
void verify_packed(const Checkpoint& packed);

/// Removes the file `source` once verify_packed() has found `packed` to restore it; what that throws leaves both.
void replace_by_packed(const std::string& source, const std::string& packed);

}  // namespace junto
