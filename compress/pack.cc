#include "compress/pack.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/sha256.h"
#include "format/gguf.h"
#include "kernels/interleave.h"
#include "model/architectures.h"
#include "tensor/dtype.h"

namespace junto {
namespace {

std::uint64_t rounded_up(std::uint64_t bytes, std::uint64_t to) {
  return (bytes + to - 1) / to * to;
}

PackedPart part_of(const NamedTensor& stack) {
  return {stack.name, stack.tensor.type, stack.tensor.shape[1], stack.tensor.shape[2]};
}

// Blocks whose experts stand in stacks under the names that GGUF gives them.
PackedExperts plan_packed(const Checkpoint& source) {
  if (source.kind != Checkpoint::Kind::kGguf) fail(source.path, "is no GGUF file; junto convert makes one");
  if (source.metadata.contains(kPackedKey)) fail(source.path, "is packed already");
  PackedExperts packed;
  packed.source_architecture = source.metadata.required_string("general.architecture");
  for (const Architecture& row : architectures()) {
    if (row.gguf == packed.source_architecture && !row.gguf_tensors.empty()) {
      fail(source.path,
           "architecture " + packed.source_architecture + " has tensor names of its own and cannot be packed");
    }
  }
  packed.source_alignment = source.metadata.integer("general.alignment");
  for (const NamedTensor& named : source.tensors()) packed.tensors.push_back(named.name);
  const std::size_t blocks = describe_model(source).config.blocks.size();
  for (std::size_t b = 0; b < blocks; ++b) {
    PackedLayer layer;
    std::uint64_t bytes = 0;
    bool whole = true;
    for (const char* const role : {"ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"}) {
      const std::string name = "blk." + std::to_string(b) + "." + role + ".weight";
      const Tensor* stack = source.find(name);
      if (!stack) {
        whole = whole && role == std::string_view("ffn_gate_exps");
        continue;
      }
      if (stack->shape.size() != 3 || (layer.experts > 0 && layer.experts != stack->shape[0])) {
        fail(source.path,
             tensor_label(name) + " has shape " + to_string(stack->shape) + ", expected [experts, rows, cols]");
      }
      layer.experts = stack->shape[0];
      layer.parts.push_back(part_of({name, *stack}));
      bytes += packed_bytes(layer.parts.back());
    }
    layer.expert_bytes = rounded_up(bytes, kPackedAlignment);
    if (whole && layer.parts.size() >= 2) packed.layers.emplace(static_cast<int>(b), std::move(layer));
  }
  if (packed.layers.empty())
    fail(source.path, "has no experts to pack: expected stacks blk.L.ffn_{gate,up,down}_exps.weight");
  return packed;
}

bool is_packed_part(const PackedExperts& packed, std::string_view name) {
  return std::ranges::any_of(packed.layers, [&](const auto& entry) {
    return std::ranges::any_of(entry.second.parts, [&](const PackedPart& part) { return part.tensor == name; });
  });
}

WeightMatrix stored_matrix(const Tensor& stack, const PackedPart& part, std::int64_t expert) {
  WeightMatrix w;
  w.type = part.type;
  w.rows = part.rows;
  w.cols = part.cols;
  w.row_bytes = bytes_of(part.type, part.cols);
  w.data = stack.bytes.data() + static_cast<std::size_t>(expert) * w.bytes();
  return w;
}

// One expert as the store has it.
void put_expert(const Checkpoint& source, const PackedLayer& layer, std::int64_t expert, std::vector<std::byte>& to) {
  to.assign(layer.expert_bytes, std::byte{});
  std::byte* at = to.data();
  for (const PackedPart& part : layer.parts) {
    const WeightMatrix stored = stored_matrix(*source.find(part.tensor), part, expert);
    if (unit_layout(part.type)) {
      interleave_groups(stored, {0, interleaved_groups(stored)}, at);
    } else {
      std::copy_n(stored.data, stored.bytes(), at);
    }
    at += packed_bytes(part);
  }
}

TensorToWrite packed_tensor(const Checkpoint& source, int block, const PackedLayer& layer) {
  TensorToWrite out;
  out.name = packed_tensor_name(block);
  out.type = DType::kI8;
  out.shape = {layer.experts, static_cast<std::int64_t>(layer.expert_bytes)};
  out.produce = [&source, layer](const ByteSink& sink) {
    std::vector<std::byte> expert;
    for (std::int64_t e = 0; e < layer.experts; ++e) {
      put_expert(source, layer, e, expert);
      sink(expert);
    }
  };
  return out;
}

// The stored rows of one part of all experts, in order.
void restore_part(const Checkpoint& packed, int block, const PackedLayer& layer, std::size_t part,
                  const ByteSink& sink) {
  const Tensor& blob =
      packed.require(packed_tensor_name(block), {layer.experts, static_cast<std::int64_t>(layer.expert_bytes)});
  const PackedPart& p = layer.parts[part];
  const UnitLayout* layout = unit_layout(p.type);
  const auto row_bytes = bytes_of(p.type, p.cols);
  const std::int64_t blocks = p.cols / block_values(p.type);
  std::vector<std::byte> row(row_bytes);
  for (std::int64_t e = 0; e < layer.experts; ++e) {
    const WeightMatrix w =
        packed_matrix(layer, part, blob.bytes.data() + static_cast<std::uint64_t>(e) * layer.expert_bytes, nullptr);
    if (!layout) {
      sink({w.data, w.bytes()});
      continue;
    }
    const std::size_t group_bytes = interleaved_group_bytes(p.type, p.cols);
    for (std::int64_t r = 0; r < p.rows; ++r) {
      const std::byte* group = w.data + static_cast<std::size_t>(r / kInterleavedRows) * group_bytes;
      for (std::int64_t b = 0; b < blocks; ++b) {
        deinterleave_block(*layout, group, r % kInterleavedRows, b,
                           row.data() + static_cast<std::size_t>(b) * block_bytes(p.type));
      }
      sink(row);
    }
  }
}

PackedExperts require_packed(const Checkpoint& packed) {
  std::optional<PackedExperts> found = parse_packed_experts(packed.metadata);
  if (!found) fail(packed.path, std::string("is not packed: it has no ") + kPackedKey);
  return *std::move(found);
}

// The source's tensors in its order.
std::vector<TensorToWrite> restored_tensors(const Checkpoint& packed, const PackedExperts& record) {
  std::vector<TensorToWrite> out;
  for (const std::string& name : record.tensors) {
    if (!is_packed_part(record, name)) {
      const Tensor* tensor = packed.find(name);
      if (!tensor) fail(packed.path, tensor_label(name) + " is missing");
      out.push_back(to_write(name, *tensor));
      continue;
    }
    for (const auto& [block, layer] : record.layers) {
      for (std::size_t p = 0; p < layer.parts.size(); ++p) {
        const PackedPart& part = layer.parts[p];
        if (part.tensor != name) continue;
        TensorToWrite tensor{name, part.type, {layer.experts, part.rows, part.cols}, nullptr};
        tensor.produce = [&packed, block = block, layer = layer, p](const ByteSink& sink) {
          restore_part(packed, block, layer, p, sink);
        };
        out.push_back(std::move(tensor));
      }
    }
  }
  return out;
}

std::string digest_of(const std::vector<TensorToWrite>& tensors) {
  Sha256 digest;
  for (const TensorToWrite& tensor : tensors) {
    tensor.produce([&](std::span<const std::byte> bytes) { digest.update(bytes); });
  }
  return digest.hex_digest();
}

void expect_digest(const Checkpoint& packed, const PackedExperts& record, const std::string& found) {
  if (found == record.source_sha256) return;
  fail(packed.path, "its tensors restore to SHA-256 " + found + ", expected " + record.source_sha256 +
                        ": it is not what was packed");
}

PackReport report_of(const Checkpoint& source, const std::string& out, const PackedExperts& packed) {
  PackReport report;
  for (const auto& [block, layer] : packed.layers) report.experts += layer.experts;
  for (const NamedTensor& named : source.tensors()) report.source_bytes += named.tensor.bytes.size();
  const GgufFile written = open_gguf(out);
  for (const NamedTensor& named : written.tensors.all()) report.bytes += named.tensor.bytes.size();
  return report;
}

}  // namespace

std::uint64_t packed_file_bytes(const Checkpoint& source) {
  const PackedExperts packed = plan_packed(source);
  std::uint64_t bytes = 0;
  for (const NamedTensor& named : source.tensors()) {
    if (!is_packed_part(packed, named.name)) bytes += rounded_up(named.tensor.bytes.size(), kPackedAlignment);
  }
  for (const auto& [block, layer] : packed.layers)
    bytes += static_cast<std::uint64_t>(layer.experts) * layer.expert_bytes;
  return bytes;
}

PackReport pack(const Checkpoint& source, const std::string& out, const WriteProgress& progress) {
  PackedExperts packed = plan_packed(source);
  std::vector<TensorToWrite> tensors;
  Sha256 digest;
  for (const NamedTensor& named : source.tensors()) {
    digest.update(named.tensor.bytes);
    if (!is_packed_part(packed, named.name)) tensors.push_back(to_write(named.name, named.tensor));
  }
  packed.source_sha256 = digest.hex_digest();
  for (const auto& [block, layer] : packed.layers) tensors.push_back(packed_tensor(source, block, layer));
  Metadata metadata(out);
  for (const auto& [key, value] : source.metadata.entries()) metadata.set(key, value);
  if (packed.source_architecture != "junto") {
    metadata.set("general.architecture", std::string("junto"));
    metadata.set("junto.base_architecture", packed.source_architecture);
  }
  metadata.set("general.alignment", static_cast<std::uint32_t>(kPackedAlignment));
  metadata.set(kPackedKey, to_json(packed).dump());
  write_gguf(out, metadata, tensors, progress);
  return report_of(source, out, packed);
}

PackReport unpack(const Checkpoint& source, const std::string& out, const WriteProgress& progress) {
  const PackedExperts packed = require_packed(source);
  const std::vector<TensorToWrite> tensors = restored_tensors(source, packed);
  expect_digest(source, packed, digest_of(tensors));
  Metadata metadata(out);
  for (const auto& [key, value] : source.metadata.entries()) {
    const bool added = key == kPackedKey || (key == "general.alignment" && !packed.source_alignment) ||
                       (key == "junto.base_architecture" && packed.source_architecture != "junto");
    if (!added) metadata.set(key, value);
  }
  metadata.set("general.architecture", packed.source_architecture);
  if (packed.source_alignment) metadata.set("general.alignment", static_cast<std::uint32_t>(*packed.source_alignment));
  write_gguf(out, metadata, tensors, progress);
  return report_of(source, out, packed);
}

void verify_packed(const Checkpoint& packed) {
  const PackedExperts record = require_packed(packed);
  expect_digest(packed, record, digest_of(restored_tensors(packed, record)));
}

}  // namespace junto
