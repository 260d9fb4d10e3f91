#include "format/packed_experts.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "base/crc32c.h"
#include "base/error.h"
#include "kernels/columns.h"
#include "kernels/interleave.h"
#include "tensor/dtype.h"

namespace junto {
namespace {

constexpr std::uint64_t kPartAlignment = 64;
constexpr std::int64_t kMost = std::int64_t{1} << 40;  // of any size
constexpr std::int64_t kMostRows = std::int64_t{1} << 20;

std::string string_of(const Json& json, const char* key, const std::string& where) {
  const auto found = json.is_object() ? json.find(key) : json.end();
  if (!json.is_object() || found == json.end() || !found->is_string()) {
    fail(where, std::string(key) + " is missing, expected a text");
  }
  return found->get<std::string>();
}

std::int64_t integer_of(const Json& json, const char* key, std::int64_t least, const std::string& where) {
  const auto found = json.is_object() ? json.find(key) : json.end();
  const bool is_integer = json.is_object() && found != json.end() && found->is_number_integer();
  if (!is_integer || found->get<std::int64_t>() < least || found->get<std::int64_t>() > kMost) {
    fail(where, std::string(key) + " is missing or out of range, expected " + std::to_string(least) + ".." +
                    std::to_string(kMost));
  }
  return found->get<std::int64_t>();
}

const Json& list_of(const Json& json, const char* key, const std::string& where) {
  const auto found = json.is_object() ? json.find(key) : json.end();
  if (!json.is_object() || found == json.end() || !found->is_array()) {
    fail(where, std::string(key) + " is missing, expected a list");
  }
  return *found;
}

PackedLayer parse_layer(const Json& json, const std::string& where) {
  PackedLayer layer;
  layer.experts = integer_of(json, "experts", 1, where);
  layer.expert_bytes = static_cast<std::uint64_t>(integer_of(json, "expert_bytes", kPackedAlignment, where));
  std::uint64_t bytes = 0;
  for (const Json& one : list_of(json, "parts", where)) {
    PackedPart part;
    part.tensor = string_of(one, "tensor", where);
    part.rows = integer_of(one, "rows", 1, where);
    part.cols = integer_of(one, "cols", 1, where);
    const std::string type = string_of(one, "type", where);
    const std::optional<DType> known = dtype_from_name(type);
    if (!known) fail(where, "type is " + printable(type) + ", which Junto does not know");
    part.type = *known;
    part.by_column = one.contains("by_column") && one["by_column"] == true;
    if ((part.by_column ? part.rows : part.cols) % block_values(part.type) != 0) {
      fail(where, std::string(part.by_column ? "rows is " : "cols is ") +
                      std::to_string(part.by_column ? part.rows : part.cols) + ", expected whole blocks of " + type);
    }
    if (part.rows > kMostRows || part.cols > kMostRows) fail(where, "rows and cols are at most 1048576 each");
    bytes += packed_bytes(part);
    layer.parts.push_back(std::move(part));
  }
  if (layer.parts.size() < 2 || layer.parts.size() > 3) {
    fail(where, "has " + std::to_string(layer.parts.size()) + " parts, expected 2 or 3");
  }
  if (layer.expert_bytes % kPackedAlignment != 0 || layer.expert_bytes < bytes) {
    fail(where, "expert_bytes is " + std::to_string(layer.expert_bytes) + ", expected a multiple of " +
                    std::to_string(kPackedAlignment) + " and at least " + std::to_string(bytes));
  }
  return layer;
}

constexpr const char* kLayout = "rows16";
constexpr const char* kLayoutWithColumns = "rows16 columns32";
// Before it there were no blocks of columns of such types: files of the other name hold them as they were stored.
constexpr const char* kLayoutWithNibbleColumns = "rows16 columns32 nibbles";

const char* layout_name(const PackedExperts& packed) {
  const char* name = kLayout;
  for (const auto& [block, layer] : packed.layers) {
    for (const PackedPart& part : layer.parts) {
      if (!part.by_column) continue;
      if (part.type != DType::kQ8_0 && has_column_blocks(part.type)) return kLayoutWithNibbleColumns;
      name = kLayoutWithColumns;
    }
  }
  return name;
}

}  // namespace

std::string packed_tensor_name(int block) {
  return "blk." + std::to_string(block) + ".experts.packed";
}

std::string packed_checksums_name(int block) {
  return "blk." + std::to_string(block) + ".experts.crc32c";
}

Shape source_shape(const PackedLayer& layer, const PackedPart& part) {
  if (part.by_column) return {layer.experts, part.cols, part.rows};
  return {layer.experts, part.rows, part.cols};
}

WeightMatrix source_matrix(const PackedPart& part, const std::byte* data) {
  WeightMatrix w;
  w.type = part.type;
  w.rows = part.rows;
  w.cols = part.cols;
  w.row_bytes = bytes_of(part.type, part.by_column ? part.rows : part.cols);
  w.data = data;
  w.layout = part.by_column ? WeightLayout::kColumns : WeightLayout::kRows;
  return w;
}

bool is_rearranged(const PackedPart& part) {
  return part.by_column ? has_column_blocks(part.type) : unit_layout(part.type) != nullptr;
}

std::uint64_t packed_bytes(const PackedPart& part) {
  const WeightMatrix w = source_matrix(part, nullptr);
  const std::uint64_t bytes = is_rearranged(part) ? interleaved_bytes(w) : w.bytes();
  return (bytes + kPartAlignment - 1) / kPartAlignment * kPartAlignment;
}

WeightMatrix packed_matrix(const PackedLayer& layer, std::size_t part, const std::byte* expert,
                           std::shared_ptr<const void> keep_alive) {
  for (std::size_t before = 0; before < part; ++before) expert += packed_bytes(layer.parts[before]);
  const PackedPart& p = layer.parts[part];
  WeightMatrix w = source_matrix(p, expert);
  if (is_rearranged(p)) return interleaved_weights(w, expert, std::move(keep_alive));
  w.keep_alive = std::move(keep_alive);
  return w;
}

std::optional<WeightMatrix> find_packed_matrix(const PackedLayer& layer, const NamedTensor& blob,
                                               const std::string& tensor, std::int64_t expert, std::int64_t rows,
                                               std::int64_t cols, std::string_view where) {
  const Shape shape = {layer.experts, static_cast<std::int64_t>(layer.expert_bytes)};
  if (blob.tensor.type != DType::kI8 || blob.tensor.shape != shape) {
    fail(where, tensor_label(blob.name) + " is " + std::string(dtype_name(blob.tensor.type)) + " " +
                    to_string(blob.tensor.shape) + ", expected i8 " + to_string(shape));
  }
  if (expert >= layer.experts) {
    fail(where, tensor_label(blob.name) + " has no expert " + std::to_string(expert));
  }
  for (std::size_t p = 0; p < layer.parts.size(); ++p) {
    const PackedPart& part = layer.parts[p];
    if (part.tensor != tensor) continue;
    if ((rows >= 0 && part.rows != rows) || (cols >= 0 && part.cols != cols)) {
      const Shape expected = {rows >= 0 ? rows : part.rows, cols >= 0 ? cols : part.cols};
      fail(where, tensor_label(part.tensor) + " is packed as " + to_string(Shape{part.rows, part.cols}) +
                      ", expected " + to_string(expected));
    }
    const std::byte* bytes = blob.tensor.bytes.data() + static_cast<std::uint64_t>(expert) * layer.expert_bytes;
    return packed_matrix(layer, p, bytes, blob.tensor.keep_alive);
  }
  return std::nullopt;
}

std::vector<std::uint32_t> packed_checksums(const Checkpoint& packed, int block, const PackedLayer& layer) {
  const std::string name = packed_checksums_name(block);
  const Tensor* tensor = packed.find(name);
  if (!tensor) return {};
  if (tensor->type != DType::kI32 || tensor->shape != Shape{layer.experts}) {
    fail(packed.path, tensor_label(name) + " is " + std::string(dtype_name(tensor->type)) + " " +
                          to_string(tensor->shape) + ", expected i32 " + to_string(Shape{layer.experts}));
  }
  std::vector<std::uint32_t> checksums(static_cast<std::size_t>(layer.experts));
  std::memcpy(checksums.data(), tensor->bytes.data(), tensor->bytes.size());
  return checksums;
}

void expect_packed_checksum(std::span<const std::byte> bytes, std::uint32_t checksum, int block, std::int64_t expert,
                            std::string_view where) {
  const std::uint32_t found = crc32c(bytes);
  if (found == checksum) return;
  char text[160];
  std::snprintf(text, sizeof text, "expert %lld of block %d has CRC-32C %08x, expected %08x: the file is damaged",
                static_cast<long long>(expert), block, found, checksum);
  fail(where, text);
}

std::int64_t check_packed_experts(const Checkpoint& packed) {
  const std::optional<PackedExperts> record = parse_packed_experts(packed.metadata);
  std::int64_t checked = 0;
  if (!record) return checked;
  for (const auto& [block, layer] : record->layers) {
    const std::vector<std::uint32_t> checksums = packed_checksums(packed, block, layer);
    const Tensor& blob =
        packed.require(packed_tensor_name(block), {layer.experts, static_cast<std::int64_t>(layer.expert_bytes)});
    for (std::size_t e = 0; e < checksums.size(); ++e) {
      expect_packed_checksum(blob.bytes.subspan(e * layer.expert_bytes, layer.expert_bytes), checksums[e], block,
                             static_cast<std::int64_t>(e), packed.path);
      ++checked;
    }
  }
  return checked;
}

Json to_json(const PackedExperts& packed) {
  Json layers = Json::array();
  for (const auto& [block, layer] : packed.layers) {
    Json parts = Json::array();
    for (const PackedPart& part : layer.parts) {
      parts.push_back(
          {{"tensor", part.tensor}, {"type", dtype_name(part.type)}, {"rows", part.rows}, {"cols", part.cols}});
      if (part.by_column) parts.back()["by_column"] = true;
    }
    layers.push_back(
        {{"block", block}, {"experts", layer.experts}, {"expert_bytes", layer.expert_bytes}, {"parts", parts}});
  }
  Json out = {{"version", 1},
              {"layout", layout_name(packed)},
              {"isa", "any"},
              {"source_sha256", packed.source_sha256},
              {"source_architecture", packed.source_architecture},
              {"tensors", packed.tensors},
              {"layers", layers}};
  if (packed.source_alignment) out["source_alignment"] = *packed.source_alignment;
  return out;
}

std::optional<PackedExperts> parse_packed_experts(const Metadata& metadata) {
  if (!metadata.contains(kPackedKey)) return std::nullopt;
  const std::string where = metadata.file() + ": " + kPackedKey;
  const Json json = parse_json(metadata.required_string(kPackedKey), where);
  if (integer_of(json, "version", 1, where) != 1) fail(where, "version is newer than 1, which is what Junto knows");
  const std::string layout = string_of(json, "layout", where), isa = string_of(json, "isa", where);
  PackedExperts packed;
  packed.source_sha256 = string_of(json, "source_sha256", where);
  packed.source_architecture = string_of(json, "source_architecture", where);
  if (json.contains("source_alignment")) packed.source_alignment = integer_of(json, "source_alignment", 8, where);
  for (const Json& name : list_of(json, "tensors", where)) {
    if (!name.is_string()) fail(where, "tensors has an entry that is no text");
    packed.tensors.push_back(name.get<std::string>());
  }
  for (const Json& one : list_of(json, "layers", where)) {
    const auto block = static_cast<int>(std::min(kMostRows, integer_of(one, "block", 0, where)));
    const std::string layer_where = where + ": block " + std::to_string(block);
    if (!packed.layers.emplace(block, parse_layer(one, layer_where)).second) fail(layer_where, "is there twice");
  }
  const std::string expected = layout_name(packed);
  if (layout != expected || isa != "any") {
    fail(where, "layout is " + printable(layout) + " for " + printable(isa) + ", expected " + expected +
                    " for any; junto unpack of the build that wrote it restores the source");
  }
  return packed;
}

}  // namespace junto
