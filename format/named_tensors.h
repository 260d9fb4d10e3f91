// Tensors by name: what every checkpoint reader fills, and what every writer takes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tensor/tensor.h"

namespace junto {

struct NamedTensor {
  std::string name;
  Tensor tensor;
};

/// `tensor "blk.0.attn_q.weight"`, as errors name one.
std::string tensor_label(std::string_view name);

/// Named tensors in file order, each name once.
class NamedTensors {
 public:
  const std::vector<NamedTensor>& all() const { return tensors_; }
  std::size_t size() const { return tensors_.size(); }
  /// False (and no change) where the name exists already.
  bool add(std::string name, Tensor tensor);
  /// nullptr where absent.
  const Tensor* find(std::string_view name) const;
  Tensor* find(std::string_view name);

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };

  std::vector<NamedTensor> tensors_;
  std::unordered_map<std::string, std::size_t, Hash, std::equal_to<>> index_;
};

/// Takes the next bytes of a tensor that is being written.
using ByteSink = std::function<void(std::span<const std::byte>)>;

/// A tensor to write. Its bytes are asked for when their turn comes, so that a file larger than memory can be written.
struct TensorToWrite {
  std::string name;
  DType type = DType::kF32;
  Shape shape;
  /// Hands all bytes_of(type, values) bytes, row-major, to the sink in pieces of any size.
  std::function<void(const ByteSink&)> produce;
};

/// Writes `tensor` as it is stored; the result shares its bytes.
TensorToWrite to_write(std::string name, Tensor tensor);

/// Called between pieces with the tensor bytes written and to be written in all.
using WriteProgress = std::function<void(std::uint64_t done_bytes, std::uint64_t total_bytes)>;

/// The bytes of a tensor of `type` and `shape`; Error (naming `file` and the tensor) where a dimension is negative, the
/// size overflows or a row does not fill whole blocks.
std::uint64_t checked_bytes(std::string_view file, std::string_view name, DType type, const Shape& shape);

/// Runs `tensor.produce` into `sink`; Error naming `file` and the tensor unless it makes exactly `size` bytes.
void produce_exactly(std::string_view file, const TensorToWrite& tensor, std::uint64_t size, const ByteSink& sink);

}  // namespace junto
