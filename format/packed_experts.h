// Experts as `junto pack` stores them: each one contiguous, on pages of its own, in the kernels' layout, so that one
// read brings it and nothing is moved on arrival. The key junto.packed of a GGUF file says where and what:
//
//   {"version": 1, "layout": "rows16", "isa": "any", "source_sha256": ..., "source_architecture": ...,
//    "tensors": [names of the source in its order],
//    "layers": [{"block": 0, "experts": 64, "expert_bytes": 3538944,
//                "parts": [{"tensor": "blk.0.ffn_gate_exps.weight", "type": "q4_0", "rows": 1024, "cols": 2048},
//                ...]}]}
//
// The experts of block L are tensor blk.L.experts.packed, I8 [experts, expert_bytes]: opaque bytes. A part is
// interleaved (kernels/interleave.h) where its type has such a layout, else as stored, and begins at a multiple of 64.
// A part that the source stores by column (blk.L.ffn_down_t_exps.weight [experts, cols, rows]) has "by_column": true
// and lies in blocks of outputs (kernels/columns.h) where its type has these; "layout" is then "rows16 columns32", or
// "rows16 columns32 nibbles" where a type of Q5_0 or Q4_0 is among them.
//
// Tensor blk.L.experts.crc32c, I32 [experts], has the CRC-32C of each expert's expert_bytes.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "format/checkpoint.h"
#include "format/metadata.h"
#include "kernels/matmul.h"

namespace junto {

inline constexpr const char* kPackedKey = "junto.packed";
inline constexpr std::uint64_t kPackedAlignment = 4096;

/// One matrix [rows, cols] of every expert of a block: a slice of the source's `tensor` [experts, rows, cols], or
/// [experts, cols, rows] where that is stored by column.
struct PackedPart {
  std::string tensor;
  DType type = DType::kF32;
  std::int64_t rows = 0, cols = 0;
  bool by_column = false;
};

struct PackedLayer {
  std::int64_t experts = 0;
  std::uint64_t expert_bytes = 0;  // a multiple of kPackedAlignment
  std::vector<PackedPart> parts;   // gate where there is one, up, down
};

struct PackedExperts {
  std::string source_sha256;  // of the source's tensor bytes in its order
  std::string source_architecture;
  std::optional<std::int64_t> source_alignment;  // general.alignment, where it had one
  std::vector<std::string> tensors;              // the source's, in its order
  std::map<int, PackedLayer> layers;             // by block
};

std::string packed_tensor_name(int block);
std::string packed_checksums_name(int block);

/// The source's tensor: [experts, rows, cols] or [experts, cols, rows].
Shape source_shape(const PackedLayer& layer, const PackedPart& part);

/// A part as the source stores it, its bytes at `data`.
WeightMatrix source_matrix(const PackedPart& part, const std::byte* data);

/// Bytes of one part in an expert, a multiple of 64.
std::uint64_t packed_bytes(const PackedPart& part);

/// Whether a part lies in another layout than the source's.
bool is_rearranged(const PackedPart& part);

/// The part of an expert whose bytes begin at `expert`; `part` is an index.
WeightMatrix packed_matrix(const PackedLayer& layer, std::size_t part, const std::byte* expert,
                           std::shared_ptr<const void> keep_alive);

/// The matrix of expert `expert` that the source had in stack `tensor`, in `blob`, the tensor of the layer's experts;
/// nothing where the layer has no such part. rows or cols -1: any. Throws Error naming `where` and the tensor.
std::optional<WeightMatrix> find_packed_matrix(const PackedLayer& layer, const NamedTensor& blob,
                                               const std::string& tensor, std::int64_t expert, std::int64_t rows,
                                               std::int64_t cols, std::string_view where);

/// CRC-32C of each expert of a block, [experts]; empty where the file has none. Throws Error naming file and tensor.
std::vector<std::uint32_t> packed_checksums(const Checkpoint& packed, int block, const PackedLayer& layer);

/// Throws Error naming `where`, block and expert where `bytes` are not those that the checksum was made of.
void expect_packed_checksum(std::span<const std::byte> bytes, std::uint32_t checksum, int block, std::int64_t expert,
                            std::string_view where);

/// Reads all experts of a packed file: how many had a checksum, which was theirs. Throws Error naming the first one
/// that has another.
std::int64_t check_packed_experts(const Checkpoint& packed);

Json to_json(const PackedExperts& packed);

/// Of a file's metadata; nothing where it is not packed. Throws Error naming file and field on anything that is not as
/// above; whether the tensors are as it says is for the reader to check.
std::optional<PackedExperts> parse_packed_experts(const Metadata& metadata);

}  // namespace junto
