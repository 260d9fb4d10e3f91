#include "format/packed_experts.h"

#include <algorithm>

#include "base/error.h"
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
    if (part.cols % block_values(part.type) != 0) {
      fail(where, "cols is " + std::to_string(part.cols) + ", expected whole blocks of " + type);
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

}  // namespace

std::string packed_tensor_name(int block) {
  return "blk." + std::to_string(block) + ".experts.packed";
}

std::uint64_t packed_bytes(const PackedPart& part) {
  WeightMatrix w;
  w.type = part.type;
  w.rows = part.rows;
  w.cols = part.cols;
  w.row_bytes = bytes_of(part.type, part.cols);
  const std::uint64_t bytes = unit_layout(part.type) ? interleaved_bytes(w) : w.bytes();
  return (bytes + kPartAlignment - 1) / kPartAlignment * kPartAlignment;
}

WeightMatrix packed_matrix(const PackedLayer& layer, std::size_t part, const std::byte* expert,
                           std::shared_ptr<const void> keep_alive) {
  for (std::size_t before = 0; before < part; ++before) expert += packed_bytes(layer.parts[before]);
  const PackedPart& p = layer.parts[part];
  if (unit_layout(p.type)) return interleaved_weights(p.type, p.rows, p.cols, expert, std::move(keep_alive));
  WeightMatrix w;
  w.type = p.type;
  w.rows = p.rows;
  w.cols = p.cols;
  w.row_bytes = bytes_of(p.type, p.cols);
  w.data = expert;
  w.keep_alive = std::move(keep_alive);
  return w;
}

Json to_json(const PackedExperts& packed) {
  Json layers = Json::array();
  for (const auto& [block, layer] : packed.layers) {
    Json parts = Json::array();
    for (const PackedPart& part : layer.parts) {
      parts.push_back(
          {{"tensor", part.tensor}, {"type", dtype_name(part.type)}, {"rows", part.rows}, {"cols", part.cols}});
    }
    layers.push_back(
        {{"block", block}, {"experts", layer.experts}, {"expert_bytes", layer.expert_bytes}, {"parts", parts}});
  }
  Json out = {{"version", 1},
              {"layout", "rows16"},
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
  if (layout != "rows16" || isa != "any") {
    fail(where, "layout is " + printable(layout) + " for " + printable(isa) +
                    ", expected rows16 for any; junto unpack of the build that wrote it restores the source");
  }
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
  return packed;
}

}  // namespace junto
