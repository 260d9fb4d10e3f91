// Rows of stored matrices on their way into a file: put in order, decoded, encoded as another type, in parallel and
// piece by piece, so that a tensor larger than memory can be written.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "format/named_tensors.h"
#include "tensor/tensor.h"

namespace junto {

/// Where a tensor's rows come from: the rows of all parts, one part after the other. Every part has the same shape.
struct RowSource {
  std::vector<Tensor> parts;
  std::vector<std::int64_t> order;  // row i of a part is its stored row order[i]; empty: as stored
  float offset = 0.0f;              // added to every value
  bool transpose = false;           // each part is written as its transpose; then `order` is empty

  bool as_stored() const { return order.empty() && offset == 0.0f && !transpose; }
};

/// A tensor of `type` and `shape` made of `source`. Rows that keep their type keep their bytes. `pool` must live until
/// the tensor is written. While it is produced, throws Error naming the tensor where a value is not finite and `type`
/// is a block format.
TensorToWrite encode_rows(std::string name, Shape shape, DType type, RowSource source, ThreadPool& pool);

}  // namespace junto
