// Tensors of LibTorch to and from the safetensors files that checkpoints of training are.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <string_view>

#include "format/safetensors.h"

namespace junto {

/// Keeps the values until they are written.
TensorToWrite stored(std::string name, const at::Tensor& values, DType type = DType::kF32);

/// Copies a tensor of the file over `into`, float32. Throws Error naming `path` and the tensor where it is missing or
/// of another shape or type.
void restore(const SafetensorsFile& file, const std::string& path, const std::string& name, const at::Tensor& into);

/// Throws Error where the file's metadata has no such key.
std::string metadata_of(const SafetensorsFile& file, const std::string& path, std::string_view key);

}  // namespace junto
