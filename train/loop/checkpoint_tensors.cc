#include "train/loop/checkpoint_tensors.h"

#include <ATen/ATen.h>

#include <cstring>

#include "base/error.h"

namespace junto {

TensorToWrite stored(std::string name, const at::Tensor& values, DType type) {
  const at::Tensor kept = values.detach().contiguous();
  return {.name = std::move(name), .type = type, .shape = kept.sizes().vec(), .produce = [kept](const ByteSink& sink) {
            sink({static_cast<const std::byte*>(kept.data_ptr()), kept.nbytes()});
          }};
}

void restore(const SafetensorsFile& file, const std::string& path, const std::string& name, const at::Tensor& into) {
  const Tensor* found = file.tensors.find(name);
  if (found == nullptr) fail(path, tensor_label(name) + " is missing");
  if (found->type != DType::kF32 || found->shape != into.sizes().vec()) {
    fail(path, tensor_label(name) + " is " + to_string(found->shape) + ", expected " + to_string(into.sizes().vec()) +
                   " of F32");
  }
  std::memcpy(into.data_ptr(), found->bytes.data(), found->bytes.size());
}

std::string metadata_of(const SafetensorsFile& file, const std::string& path, std::string_view key) {
  for (const auto& [name, text] : file.metadata) {
    if (name == key) return text;
  }
  fail(path, "metadata has no " + std::string(key) + ", expected a checkpoint of junto train");
}

}  // namespace junto
