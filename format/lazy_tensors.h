// Tensors of a checkpoint, of which some are computed from stored ones when they are first asked for: an FP8 checkpoint
// of 600 GB can be listed at once and converted one tensor at a time.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "format/named_tensors.h"

namespace junto {

/// Copies share one list. Any threads may read while no one adds.
class LazyTensors {
 public:
  LazyTensors();

  /// A tensor as stored. False (and no change) where the name exists already.
  bool add(std::string name, Tensor tensor);
  /// A tensor of `type` and `shape` that `make` computes. False (and no change) where the name exists already.
  bool add(std::string name, DType type, Shape shape, std::function<Tensor()> make);

  /// Names, types and shapes in order, at no cost. Take no bytes from here: those of tensors not yet made are missing.
  const std::vector<NamedTensor>& listing() const;
  /// All tensors; makes those that were not made yet.
  const std::vector<NamedTensor>& all() const;
  /// Makes the tensor if need be and keeps it; nullptr where absent.
  const Tensor* find(std::string_view name) const;
  /// The same without keeping what it makes: the bytes go when the result goes. Empty where absent.
  std::optional<Tensor> load(std::string_view name) const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace junto
