// All parameters of a model: leaves of autograd whose values and gradients lie in two flat arrays, so that an optimiser
// and a norm are one pass each and a checkpoint is a list of names.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "train/nn/grouped_experts.h"

namespace junto {

struct Parameter {
  std::string name;
  at::Tensor value;         // a view of `values`, requires grad; its grad() is a view of `gradients`
  std::int64_t offset = 0;  // in values
  bool decays = false;      // matrices; not norms
};

class Parameters {
 public:
  /// To be made: `out` becomes the leaf. Values are drawn from a normal distribution around `mean`.
  struct Request {
    std::string name;
    std::vector<std::int64_t> shape;
    at::Tensor* out;
    double mean = 0.0, deviation = 0.0;
    bool decays = false;
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
  std::int64_t count() const;

 private:
  at::Tensor values_, gradients_;
  std::vector<Parameter> all_;
  std::vector<std::shared_ptr<ExpertGradients>> in_place_;
  std::vector<bool> zeroed_;  // [all]: clear_gradients() zeroes it
};

}  // namespace junto
