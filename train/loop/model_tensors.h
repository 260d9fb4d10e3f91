// Tensors of a model in training, to be written as float32.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>
#include <vector>

#include "format/named_tensors.h"

namespace junto {

struct ModelTensors {
  std::vector<TensorToWrite> out;

  /// Nothing where `values` is undefined. They are read when they are written.
  void add(std::string name, const at::Tensor& values) {
    if (!values.defined()) return;
    const at::Tensor kept = values.detach();
    out.push_back({.name = std::move(name),
                   .type = DType::kF32,
                   .shape = kept.sizes().vec(),
                   .produce = [kept](const ByteSink& sink) {
                     const at::Tensor whole = kept.contiguous();
                     sink({static_cast<const std::byte*>(whole.data_ptr()), whole.nbytes()});
                   }});
  }
};

}  // namespace junto
