// All parameters of a model: leaves of autograd whose values and gradients lie in two flat arrays, so that an optimiser
// and a norm are one pass each and a checkpoint is a list of names.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "train/nn/grouped_experts.h"

namespace junto {

struct Parameter {
  std::string name;
  at::Tensor value;             // a view of `values`, requires grad; its grad() is a view of `gradients`
  std::int64_t offset = 0;      // in values
  bool decays = false;          // matrices; not norms
  std::int64_t whole_rows = 0;  // of a stack of experts that ranks may part: those of all ranks; else 0

  /// Values on all ranks, each once.
  std::int64_t whole_count() const;
};

/// Where the next parameter begins after `count` values.
inline std::int64_t padded(std::int64_t count) {
  return (count + 15) / 16 * 16;
}
/// In double, always in the same order.
double sum_of_squares(const float* values, std::int64_t count);

class Parameters {
 public:
  /// To be made: `out` becomes the leaf. Values are drawn from a normal distribution around `mean`.
  struct Request {
    std::string name;
    std::vector<std::int64_t> shape;
    at::Tensor* out;
    double mean = 0.0, deviation = 0.0;
    bool decays = false;
    /// The rows of `shape` that this rank keeps, ascending, of a stack of experts that ranks may part. A kept row has
    /// the values that it has where all are kept.
    std::optional<std::vector<std::int32_t>> rows = {};
  };

  Parameters() = default;
  /// float32; a parameter's values follow from its name, shape and the seed, whatever others there are.
  Parameters(const std::vector<Request>& requests, std::uint64_t seed);

  /// The gradients of two stacks of experts are written in place from now on.
  std::shared_ptr<ExpertGradients> write_in_place(at::Tensor& gate_up, at::Tensor& down);

  /// Before the first micro-batch of a step.
  void clear_gradients();
  /// After the last: gradients that nothing was written to are 0.
  void finish_gradients();

  const std::vector<Parameter>& all() const { return all_; }
  /// [sum of sizes, each rounded up to 16]: what is between them is and stays 0.
  const at::Tensor& values() const { return values_; }
  const at::Tensor& gradients() const { return gradients_; }
  /// Values of all ranks, each once.
  std::int64_t count() const;

 private:
  at::Tensor values_, gradients_;
  std::vector<Parameter> all_;
  std::vector<std::shared_ptr<ExpertGradients>> in_place_;
  std::vector<bool> zeroed_;  // [all]: clear_gradients() zeroes it
};

}  // namespace junto
