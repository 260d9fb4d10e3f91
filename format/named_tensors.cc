#include "format/named_tensors.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace junto {

std::string tensor_label(std::string_view name) {
  return "tensor \"" + printable(name) + "\"";
}
bool NamedTensors::add(std::string name, Tensor tensor) {
  if (!index_.try_emplace(name, tensors_.size()).second) return false;
  tensors_.push_back({std::move(name), std::move(tensor)});
  return true;
}

const Tensor* NamedTensors::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second].tensor;
}

Tensor* NamedTensors::find(std::string_view name) {
  return const_cast<Tensor*>(std::as_const(*this).find(name));
}

TensorToWrite to_write(std::string name, Tensor tensor) {
  const DType type = tensor.type;
  Shape shape = tensor.shape;
  return {std::move(name), type, std::move(shape),
          [tensor = std::move(tensor)](const ByteSink& sink) { sink(tensor.bytes); }};
}

std::uint64_t checked_bytes(std::string_view file, std::string_view name, DType type, const Shape& shape) {
  // An empty dimension hides no overflow: readers multiply the others in any order.
  constexpr std::int64_t kMaxValues = std::int64_t{1} << 62;
  std::int64_t values = 1;
  bool empty = false;
  for (const std::int64_t dimension : shape) {
    if (dimension < 0) {
      fail(file, tensor_label(name) + " has shape " + to_string(shape) + ", expected no negative dimension");
    }
    empty = empty || dimension == 0;
    if (__builtin_mul_overflow(values, std::max<std::int64_t>(dimension, 1), &values) || values > kMaxValues) {
      fail(file, tensor_label(name) + " has shape " + to_string(shape) + ", expected fewer than 2^62 values");
    }
  }
  const std::int64_t block = block_values(type);
  if (block > 1 && (shape.empty() || shape.back() % block != 0)) {
    fail(file, tensor_label(name) + " has shape " + to_string(shape) + ", expected rows of a multiple of " +
                   std::to_string(block) + " values for " + std::string(dtype_name(type)));
  }
  if (empty) return 0;
  std::uint64_t bytes = 0;
  if (__builtin_mul_overflow(static_cast<std::uint64_t>(values / block), std::uint64_t{block_bytes(type)}, &bytes)) {
    fail(file, tensor_label(name) + " has shape " + to_string(shape) + ", expected fewer than 2^64 bytes");
  }
  return bytes;
}

void produce_exactly(std::string_view file, const TensorToWrite& tensor, std::uint64_t size, const ByteSink& sink) {
  std::uint64_t made = 0;
  const auto refuse = [&] {
    fail(file,
         tensor_label(tensor.name) + " was given " + std::to_string(made) + " bytes, expected " + std::to_string(size));
  };
  tensor.produce([&](std::span<const std::byte> bytes) {
    made += bytes.size();
    if (made > size) refuse();
    sink(bytes);
  });
  if (made != size) refuse();
}

}  // namespace junto
