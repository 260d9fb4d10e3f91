// A stored tensor: type, shape and bytes that somebody else keeps alive (a mapped file, an owning buffer).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tensor/dtype.h"

namespace junto {

/// Dimensions outermost first, as Hugging Face prints them: a linear layer is [out_features, in_features].
using Shape = std::vector<std::int64_t>;

std::string to_string(const Shape& shape);

struct Tensor {
  DType type = DType::kF32;
  Shape shape;
  std::span<const std::byte> bytes;        // row-major; bytes_of(type, values()) of them
  std::shared_ptr<const void> keep_alive;  // what owns `bytes`

  std::int64_t values() const;
  /// Product of all dimensions but the last (1 for vectors).
  std::int64_t rows() const;
  /// The last dimension.
  std::int64_t cols() const;
  std::size_t row_bytes() const { return bytes_of(type, cols()); }
};

/// A tensor that owns `values`.
Tensor make_tensor(Shape shape, std::vector<float> values);

/// Row `r` decoded to float: cols() values.
void decode_row(const Tensor& tensor, std::int64_t r, std::span<float> out);

/// All values decoded to float.
std::vector<float> decode(const Tensor& tensor);

/// One slice along the first dimension (an expert of a stacked tensor); shares bytes and owner.
Tensor slice(const Tensor& tensor, std::int64_t index);

}  // namespace junto
