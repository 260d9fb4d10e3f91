#include "compress/pack.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/crc32c.h"
#include "base/error.h"
#include "base/sha256.h"
#include "format/gguf.h"
#include "kernels/columns.h"
#include "kernels/interleave.h"
#include "model/architectures.h"
#include "tensor/dtype.h"

namespace junto {
namespace {

std::uint64_t rounded_up(std::uint64_t bytes, std::uint64_t to) {
  return (bytes + to - 1) / to * to;
}

// Of a stack [experts, rows, cols], or [experts, cols, rows].
PackedPart part_of(const std::string& name, const Tensor& stack, bool by_column) {
  const std::int64_t rows = stack.shape[1], cols = stack.shape[2];
  if (by_column) return {name, stack.type, cols, rows, true};
  return {name, stack.type, rows, cols, false};
}

// The parts of a block in their order: gate, up, down; the last one under the first name that is there.
constexpr std::string_view kPackedRoles[] = {"ffn_gate_exps", "ffn_up_exps", "ffn_down_exps", "ffn_down_t_exps"};

// None where up or down is missing.
std::optional<PackedLayer> plan_block(const Checkpoint& source, std::size_t block) {
  PackedLayer layer;
  std::uint64_t bytes = 0;
  bool up = false, down = false;
  for (const std::string_view role : kPackedRoles) {
    const std::string name = "blk." + std::to_string(block) + "." + std::string(role) + ".weight";
    const Tensor* stack = source.find(name);
    if (!stack) continue;
    if (stack->shape.size() != 3 || (layer.experts > 0 && layer.experts != stack->shape[0])) {
      fail(source.path,
           tensor_label(name) + " has shape " + to_string(stack->shape) + ", expected [experts, rows, cols]");
    }
    if (down) fail(source.path, tensor_label(name) + " is there beside the same matrix stored by row");
    up = up || role == kPackedRoles[1];
    down = role == kPackedRoles[2] || role == kPackedRoles[3];
    layer.experts = stack->shape[0];
    layer.parts.push_back(part_of(name, *stack, role == kPackedRoles[3]));
    bytes += packed_bytes(layer.parts.back());
  }
  layer.expert_bytes = rounded_up(bytes, kPackedAlignment);
  if (!up || !down) return std::nullopt;
  return layer;
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
    if (std::optional<PackedLayer> layer = plan_block(source, b)) {
      packed.layers.emplace(static_cast<int>(b), *std::move(layer));
    }
  }
  if (packed.layers.empty())
    fail(source.path,
         "has no experts to pack: expected stacks blk.L.ffn_{gate,up,down}_exps.weight or ffn_down_t_exps");
  return packed;
}

bool is_packed_part(const PackedExperts& packed, std::string_view name) {
  return std::ranges::any_of(packed.layers, [&](const auto& entry) {
    return std::ranges::any_of(entry.second.parts, [&](const PackedPart& part) { return part.tensor == name; });
  });
}

// One expert as the store has it.
void put_expert(const Checkpoint& source, const PackedLayer& layer, std::int64_t expert, std::vector<std::byte>& to) {
  to.assign(layer.expert_bytes, std::byte{});
  std::byte* at = to.data();
  for (const PackedPart& part : layer.parts) {
    WeightMatrix stored = source_matrix(part, source.find(part.tensor)->bytes.data());
    stored.data += static_cast<std::size_t>(expert) * stored.bytes();
    if (is_rearranged(part)) {
      interleave_groups(stored, {0, interleaved_groups(stored)}, at);
    } else {
      std::copy_n(stored.data, stored.bytes(), at);
    }
    at += packed_bytes(part);
  }
}

using Checksums = std::vector<std::uint32_t>;

// `checksums` is filled while the experts are written.
TensorToWrite packed_tensor(const Checkpoint& source, int block, const PackedLayer& layer,
                            const std::shared_ptr<Checksums>& checksums) {
  TensorToWrite out;
  out.name = packed_tensor_name(block);
  out.type = DType::kI8;
  out.shape = {layer.experts, static_cast<std::int64_t>(layer.expert_bytes)};
  out.produce = [&source, layer, checksums](const ByteSink& sink) {
    std::vector<std::byte> expert;
    checksums->clear();
    for (std::int64_t e = 0; e < layer.experts; ++e) {
      put_expert(source, layer, e, expert);
      checksums->push_back(crc32c(expert));
      sink(expert);
    }
  };
  return out;
}

// Stands behind the experts in the file, so that these are made once.
TensorToWrite checksums_tensor(int block, const PackedLayer& layer, std::shared_ptr<Checksums> checksums) {
  TensorToWrite out{packed_checksums_name(block), DType::kI32, {layer.experts}, nullptr};
  out.produce = [checksums = std::move(checksums)](const ByteSink& sink) {
    sink(std::as_bytes(std::span(*checksums)));
  };
  return out;
}

void restore_columns(const WeightMatrix& w, const ByteSink& sink) {
  std::vector<std::byte> column(w.row_bytes);
  for (std::int64_t k = 0; k < w.cols; ++k) {
    restore_column(w, k, column.data());
    sink(column);
  }
}

void restore_rows(const WeightMatrix& w, const ByteSink& sink) {
  const UnitLayout& layout = *unit_layout(w.type);
  const std::size_t group_bytes = interleaved_group_bytes(w.type, w.cols);
  const std::int64_t blocks = w.cols / block_values(w.type);
  std::vector<std::byte> row(w.row_bytes);
  for (std::int64_t r = 0; r < w.rows; ++r) {
    const std::byte* group = w.data + static_cast<std::size_t>(r / kInterleavedRows) * group_bytes;
    for (std::int64_t b = 0; b < blocks; ++b) {
      deinterleave_block(layout, group, r % kInterleavedRows, b,
                         row.data() + static_cast<std::size_t>(b) * block_bytes(w.type));
    }
    sink(row);
  }
}

// The stored rows of one part of all experts, in order.
void restore_part(const Checkpoint& packed, int block, const PackedLayer& layer, std::size_t part,
                  const ByteSink& sink) {
  const Tensor& blob =
      packed.require(packed_tensor_name(block), {layer.experts, static_cast<std::int64_t>(layer.expert_bytes)});
  const bool by_column = layer.parts[part].by_column, rearranged = is_rearranged(layer.parts[part]);
  for (std::int64_t e = 0; e < layer.experts; ++e) {
    const WeightMatrix w =
        packed_matrix(layer, part, blob.bytes.data() + static_cast<std::uint64_t>(e) * layer.expert_bytes, nullptr);
    if (!rearranged) {
      sink({w.data, w.bytes()});
    } else {
      by_column ? restore_columns(w, sink) : restore_rows(w, sink);
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
        TensorToWrite tensor{name, part.type, source_shape(layer, part), nullptr};
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
    bytes += static_cast<std::uint64_t>(layer.experts) * layer.expert_bytes +
             rounded_up(static_cast<std::uint64_t>(layer.experts) * sizeof(std::uint32_t), kPackedAlignment);
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
  for (const auto& [block, layer] : packed.layers) {
    const auto checksums = std::make_shared<Checksums>();
    tensors.push_back(packed_tensor(source, block, layer, checksums));
    tensors.push_back(checksums_tensor(block, layer, checksums));
  }
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

void replace_by_packed(const std::string& source, const std::string& packed) {
  verify_packed(open_checkpoint(packed));
  std::filesystem::remove(source);
}

}  // namespace junto
