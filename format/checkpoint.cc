#include "format/checkpoint.h"

#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "format/gguf.h"
#include "format/huggingface.h"

namespace junto {
namespace {

Checkpoint open_gguf_checkpoint(const std::string& path) {
  Checkpoint checkpoint;
  checkpoint.kind = Checkpoint::Kind::kGguf;
  checkpoint.path = path;
  GgufFile file = open_gguf(path);
  checkpoint.metadata = std::move(file.metadata);
  for (const NamedTensor& tensor : file.tensors.all()) checkpoint.lazy.add(tensor.name, tensor.tensor);
  return checkpoint;
}

}  // namespace

const Tensor& Checkpoint::require(std::string_view name, const Shape& shape) const {
  const Tensor* tensor = find(name);
  if (!tensor) {
    std::vector<std::string_view> names;
    for (const NamedTensor& candidate : listing()) names.push_back(candidate.name);
    const std::string_view near = nearest(name, names);
    fail(path, tensor_label(name) + " of shape " + to_string(shape) + " is missing" +
                   (near.empty() ? std::string() : ", nearest is \"" + printable(near) + "\""));
  }
  if (tensor->shape != shape) {
    fail(path, tensor_label(name) + " has shape " + to_string(tensor->shape) + ", expected " + to_string(shape));
  }
  return *tensor;
}

Checkpoint open_checkpoint(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) fail(path, "no such file or directory, expected a GGUF file or a Hugging Face directory");
  if (fs::is_directory(status)) return open_huggingface(path);
  if (path.ends_with(".safetensors")) {
    fail(path, "is a single safetensors file, expected its directory with config.json");
  }
  {
    const MappedFile file(path);
    if (!looks_like_gguf(file.bytes())) fail(path, "is neither a GGUF file nor a Hugging Face directory");
  }
  return open_gguf_checkpoint(path);
}

}  // namespace junto
