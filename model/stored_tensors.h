// The stored tensors of a model while it is loaded.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "kernels/interleave.h"
#include "model/adapter.h"
#include "model/tensor_names.h"
#include "model/weights.h"

namespace junto {

// Hands out tensors by canonical name and remembers which were taken.
class StoredTensors {
 public:
  StoredTensors(const std::string& path, const TensorTable& table, const AdapterTable& adapters,
                const LoadOptions& options)
      : path_(path), table_(table), options_(options), adapters_(adapters) {}

  const Tensor* find(const std::string& name) {
    const auto found = table_.find(name);
    if (found == table_.end()) return nullptr;
    if (used_.insert(found->first).second && options_.progress) options_.progress(used_.size(), table_.size());
    return &found->second;
  }

  const Tensor& require(const std::string& name) {
    const Tensor* tensor = find(name);
    if (!tensor) fail(path_, "tensor " + name + " is missing");
    return *tensor;
  }

  void expect_shape(const std::string& name, const Tensor& tensor, const Shape& shape) const {
    if (tensor.shape != shape) {
      fail(path_, "tensor " + name + " has shape " + to_string(tensor.shape) + ", expected " + to_string(shape));
    }
  }

  std::vector<float> vector(const std::string& name, std::int64_t size) {
    const Tensor& tensor = require(name);
    if (tensor.values() != size) expect_shape(name, tensor, {size});
    return checked_floats(name, tensor);
  }

  std::vector<float> vector_or_empty(const std::string& name, std::int64_t size) {
    return table_.contains(name) ? vector(name, size) : std::vector<float>();
  }

  bool contains(const std::string& name) const { return table_.contains(name); }

  /// `tensor` is [cols, rows].
  Linear columns_from(const std::string& name, const Tensor& tensor, std::int64_t rows, std::int64_t cols,
                      bool expert = false) const {
    check_shape(name, tensor, cols, rows);
    return prepared(name, tensor, make_column_weights, expert);
  }

  /// rows or cols -1: as stored. `expert`: of a routed expert, which may be streamed.
  Linear linear_from(const std::string& name, const Tensor& tensor, std::int64_t rows, std::int64_t cols,
                     bool expert = false) const {
    check_shape(name, tensor, rows, cols);
    return prepared(name, tensor, make_weights, expert);
  }

  /// `role`.weight with `role`.bias where there is one.
  Linear linear(const std::string& role, std::int64_t rows, std::int64_t cols) {
    Linear linear = linear_from(role + ".weight", require(role + ".weight"), rows, cols);
    linear.bias = vector_or_empty(role + ".bias", linear.weights.rows);
    adapters_.attach(role + ".weight", linear);
    return linear;
  }

  /// Names that nobody asked for, but for those that are known to carry no part of the function.
  void refuse_unused(std::size_t blocks) const {
    for (const auto& [name, tensor] : table_) {
      if (used_.contains(name) || name == "rope_freqs.weight" || name.ends_with(".attn_rot_embd.weight")) continue;
      if (name.starts_with("blk.") && std::strtoull(name.c_str() + 4, nullptr, 10) >= blocks) continue;  // draft layers
      fail(path_, "tensor " + printable(name) + " is not part of this architecture");
    }
  }

  const std::string& path() const { return path_; }
  AdapterOverlays& adapters() { return adapters_; }

 private:
  void check_shape(const std::string& name, const Tensor& tensor, std::int64_t rows, std::int64_t cols) const {
    if (tensor.shape.size() != 2 || (rows >= 0 && tensor.shape[0] != rows) || (cols >= 0 && tensor.shape[1] != cols)) {
      const Shape wanted = {rows >= 0 ? rows : tensor.rows(), cols >= 0 ? cols : tensor.cols()};
      fail(path_, "tensor " + name + " has shape " + to_string(tensor.shape) + ", expected " + to_string(wanted));
    }
  }

  Linear prepared(const std::string& name, const Tensor& tensor, WeightMatrix (*make)(const Tensor&),
                  bool expert) const {
    Linear linear;
    try {
      linear.weights = make(tensor);
      const bool streamed = expert && (options_.expert_memory > 0 || options_.lazy_experts);
      if (options_.pool && !streamed && gains_from_interleaving(linear.weights)) {
        linear.weights = interleave(linear.weights, *options_.pool);
      }
    } catch (const Error& error) {
      fail(path_, "tensor " + name + ": " + error.what());
    }
    return linear;
  }

  std::vector<float> checked_floats(const std::string& name, const Tensor& tensor) const {
    std::vector<float> values = decode(tensor);
    if (values.size() > (std::size_t{1} << 28)) fail(path_, "tensor " + name + " is larger than a vector may be");
    return values;
  }

  const std::string& path_;
  const TensorTable& table_;
  const LoadOptions& options_;
  std::set<std::string, std::less<>> used_;
  AdapterOverlays adapters_;
};

}  // namespace junto
