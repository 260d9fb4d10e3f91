#include "compress/gguf_identity.h"

#include <utility>

#include "base/error.h"
#include "compress/llama_cpp_architectures.h"
#include "compress/llama_cpp_keys.h"
#include "compress/same_function.h"

namespace junto {
namespace {

// A checkpoint as its reader will find it, but for the bytes of its tensors.
Checkpoint reread(const std::string& path, const std::string& architecture, const LlamaCppKeys& keys,
                  const ModelSource& source) {
  Checkpoint checkpoint;
  checkpoint.kind = Checkpoint::Kind::kGguf;
  checkpoint.path = path;
  checkpoint.metadata = Metadata(path);
  checkpoint.metadata.set("general.architecture", architecture);
  for (const auto& [key, value] : keys.metadata.entries()) checkpoint.metadata.set(key, value);
  for (const auto& [name, tensor] : source.tensors) {
    if (!(source.config.tied_embeddings && name == "output.weight")) checkpoint.lazy.add(name, tensor);
  }
  for (const NamedTensor& extra : keys.extra) checkpoint.lazy.add(extra.name, extra.tensor);
  return checkpoint;
}

GgufIdentity with_config(const Checkpoint& checkpoint, const ModelSource& source, std::string note) {
  GgufIdentity identity;
  identity.metadata.set("general.architecture", std::string("junto"));
  identity.metadata.set("junto.base_architecture", std::string(source.architecture->hf));
  identity.metadata.set("junto.config", checkpoint.config.dump());
  identity.written = source.config;
  identity.note = std::move(note);
  return identity;
}

// How llama.cpp names and joins the tensors of `architecture`.
void add_layout(const std::string& architecture, GgufIdentity& identity) {
  for (const Architecture& row : architectures()) {
    if (row.gguf == architecture) identity.renames = row.gguf_tensors;
  }
  identity.fused_qkv = (llama_cpp_architecture(architecture).shapes & kFusedQkv) != 0;
}

GgufIdentity identify_huggingface(const Checkpoint& checkpoint, const ModelSource& source) {
  const std::string name(llama_cpp_name(source.architecture->hf));
  const std::string hf(source.architecture->hf);
  if (name.empty()) return with_config(checkpoint, source, "llama.cpp has none for " + hf);
  const LlamaCppKeys keys = llama_cpp_keys(name, source.config, source.tensors, checkpoint.config);
  if (!keys.refusal.empty()) {
    return with_config(checkpoint, source, "llama.cpp's " + name + " will not do: " + keys.refusal);
  }
  GgufIdentity identity;
  try {
    identity.written = describe_model(reread(checkpoint.path, name, keys, source)).config;
  } catch (const Error& error) {
    return with_config(checkpoint, source, "llama.cpp's " + name + " does not fit: " + error.what());
  }
  const std::string difference = first_difference(source.config, identity.written);
  if (!difference.empty()) {
    return with_config(checkpoint, source, "llama.cpp's " + name + " differs (" + difference + ")");
  }
  identity.metadata.set("general.architecture", name);
  add_layout(name, identity);
  for (const auto& [key, value] : keys.metadata.entries()) identity.metadata.set(key, value);
  identity.extra = keys.extra;
  return identity;
}

}  // namespace

GgufIdentity identify_for_gguf(const Checkpoint& checkpoint, const ModelSource& source) {
  if (checkpoint.kind == Checkpoint::Kind::kHuggingFace) return identify_huggingface(checkpoint, source);
  GgufIdentity identity;
  for (const auto& [key, value] : checkpoint.metadata.entries()) identity.metadata.set(key, value);
  identity.written = source.config;
  const std::string name = checkpoint.metadata.required_string("general.architecture");
  if (name != "junto") add_layout(name, identity);
  return identity;
}

void make_junto_only(GgufIdentity& identity, std::string why) {
  const std::string name = identity.metadata.required_string("general.architecture");
  if (name == "junto") return;
  identity.metadata.set("general.architecture", std::string("junto"));
  identity.metadata.set("junto.base_architecture", name);
  identity.renames = {};
  identity.fused_qkv = false;
  identity.note = std::move(why);
}

}  // namespace junto
