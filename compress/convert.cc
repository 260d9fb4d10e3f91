#include "compress/convert.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <utility>

#include "base/error.h"
#include "base/thread_pool.h"
#include "compress/gguf_identity.h"
#include "compress/tensor_plan.h"
#include "compress/tokenizer_keys.h"
#include "format/checkpoint.h"
#include "format/gguf.h"
#include "format/packed_experts.h"

namespace junto {
namespace {

constexpr std::uint32_t kQuantizationVersion = 2;  // of the block formats, as llama.cpp counts

std::string model_name(const std::string& path) {
  const std::filesystem::path directory = std::filesystem::path(path).lexically_normal();
  const std::string name = directory.filename().string();
  return name.empty() || name == "." ? directory.parent_path().filename().string() : name;
}

void check_destination(const ConvertOptions& options) {
  std::error_code error;
  if (std::filesystem::equivalent(options.source, options.out, error)) {
    fail(options.out, "is the source itself, expected another file to write");
  }
  if (!options.out.ends_with(".gguf")) fail(options.out, "has another ending, expected .gguf: GGUF is what is written");
}

// The type that most bytes have, for general.file_type.
DType main_type(const std::vector<PlannedTensor>& plan) {
  std::vector<std::pair<DType, std::uint64_t>> bytes;
  for (const PlannedTensor& tensor : plan) {
    auto row = std::find_if(bytes.begin(), bytes.end(), [&](const auto& r) { return r.first == tensor.type; });
    if (row == bytes.end()) row = bytes.insert(bytes.end(), {tensor.type, 0});
    row->second += checked_bytes({}, tensor.name, tensor.type, tensor.shape);
  }
  const auto most =
      std::max_element(bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == bytes.end() ? DType::kF32 : most->first;
}

Metadata file_metadata(const Checkpoint& checkpoint, const GgufIdentity& identity,
                       const std::vector<PlannedTensor>& plan, std::vector<std::string>& notes) {
  Metadata metadata = identity.metadata;
  const bool quantised =
      std::any_of(plan.begin(), plan.end(), [](const PlannedTensor& tensor) { return is_quantised(tensor.type); });
  if (checkpoint.kind == Checkpoint::Kind::kHuggingFace) {
    metadata.set("general.type", std::string("model"));
    metadata.set("general.name", model_name(checkpoint.path));
    add_sampling_keys(checkpoint, metadata);
    std::string note = add_tokenizer_keys(checkpoint, identity.written.vocab_size, metadata);
    if (!note.empty()) notes.push_back(std::move(note));
  }
  metadata.set("general.file_type", gguf_file_type(main_type(plan)));
  if (quantised) metadata.set("general.quantization_version", kQuantizationVersion);
  return metadata;
}

}  // namespace

ConvertReport convert(const ConvertOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  check_destination(options);
  const Checkpoint checkpoint = open_checkpoint(options.source);
  if (checkpoint.metadata.contains(kPackedKey)) fail(options.source, "is packed; junto unpack restores what it was");
  const ModelSource source = describe_model(checkpoint);
  FilePlan file{identify_for_gguf(checkpoint, source), {}, {}};
  GgufIdentity& identity = file.identity;
  std::vector<PlannedTensor>& plan = file.tensors;
  plan = plan_tensors(checkpoint.path, source.tensors, source.config, identity.written, options.types);
  if (options.transform) options.transform(checkpoint, source, file);
  const bool unequal = std::any_of(plan.begin(), plan.end(), [](const PlannedTensor& tensor) {
    return parse_expert_tensor(tensor.name).has_value();
  });
  if (unequal) make_junto_only(identity, "llama.cpp has no experts of unequal type or width");

  if (identity.fused_qkv) fuse_qkv(plan);
  for (PlannedTensor& tensor : plan) tensor.name = published_name(tensor.name, identity.renames);

  ConvertReport report;
  if (!identity.note.empty()) report.notes.push_back("architecture junto: " + identity.note);
  for (std::string& line : describe_fallbacks(plan)) report.notes.push_back(std::move(line));
  const Metadata metadata = file_metadata(checkpoint, identity, plan, report.notes);
  report.architecture = metadata.required_string("general.architecture");

  ThreadPool pool(options.threads);
  std::vector<TensorToWrite> tensors;
  for (const NamedTensor& extra : identity.extra) tensors.push_back(to_write(extra.name, extra.tensor));
  for (const PlannedTensor& tensor : plan) {
    for (const Tensor& part : tensor.source.parts) report.source_bytes += part.bytes.size();
    report.bytes += checked_bytes(options.out, tensor.name, tensor.type, tensor.shape);
    tensors.push_back(encode_rows(tensor.name, tensor.shape, tensor.type, tensor.source, pool));
  }
  for (TensorToWrite& made : file.made) {
    report.bytes += checked_bytes(options.out, made.name, made.type, made.shape);
    tensors.push_back(std::move(made));
  }
  report.tensors = tensors.size();
  write_gguf(options.out, metadata, tensors, options.progress);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace junto
