#include "tensor/tensor.h"

#include <utility>

#include "base/error.h"
#include "tensor/block_formats.h"

namespace junto {

std::string to_string(const Shape& shape) {
  std::string out = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) out += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return out + "]";
}

std::int64_t Tensor::values() const {
  std::int64_t count = 1;
  for (const std::int64_t dimension : shape) count *= dimension;
  return count;
}

std::int64_t Tensor::rows() const {
  std::int64_t count = 1;
  for (std::size_t i = 0; i + 1 < shape.size(); ++i) count *= shape[i];
  return count;
}

std::int64_t Tensor::cols() const {
  return shape.empty() ? 1 : shape.back();
}

Tensor make_tensor(Shape shape, std::vector<float> values) {
  auto owned = std::make_shared<const std::vector<float>>(std::move(values));
  Tensor tensor{DType::kF32, std::move(shape), std::as_bytes(std::span(*owned)), owned};
  if (tensor.values() != static_cast<std::int64_t>(owned->size())) {
    fail("tensor",
         "value count is " + std::to_string(owned->size()) + ", expected those of " + to_string(tensor.shape));
  }
  return tensor;
}

void decode_row(const Tensor& tensor, std::int64_t r, std::span<float> out) {
  if (r < 0 || r >= tensor.rows()) {
    fail("tensor", "row is " + std::to_string(r) + ", expected 0.." + std::to_string(tensor.rows() - 1));
  }
  const auto cols = static_cast<std::size_t>(tensor.cols());
  if (out.size() < cols) {
    fail("tensor", "room is for " + std::to_string(out.size()) + " values, expected " + std::to_string(cols));
  }
  decode_values(tensor.type, tensor.bytes.data() + static_cast<std::size_t>(r) * tensor.row_bytes(), out.first(cols));
}

std::vector<float> decode(const Tensor& tensor) {
  std::vector<float> out(static_cast<std::size_t>(tensor.values()));
  decode_values(tensor.type, tensor.bytes.data(), out);
  return out;
}

Tensor slice(const Tensor& tensor, std::int64_t index) {
  if (tensor.shape.empty() || index < 0 || index >= tensor.shape[0]) {
    fail("tensor", "slice is " + std::to_string(index) + ", expected one of " + to_string(tensor.shape));
  }
  Tensor out{tensor.type, Shape(tensor.shape.begin() + 1, tensor.shape.end()), {}, tensor.keep_alive};
  const std::size_t bytes = bytes_of(out.type, out.values());
  out.bytes = tensor.bytes.subspan(static_cast<std::size_t>(index) * bytes, bytes);
  return out;
}

}  // namespace junto
