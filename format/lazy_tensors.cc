#include "format/lazy_tensors.h"

#include <map>
#include <mutex>
#include <utility>

namespace junto {

struct LazyTensors::State {
  NamedTensors tensors;
  std::map<std::string, std::function<Tensor()>, std::less<>> pending;  // by name: how to make what is not made yet
  std::mutex mutex;  // for `pending` and the bytes of the tensors that it names

  // An exception leaves the tensor pending.
  void make(std::map<std::string, std::function<Tensor()>, std::less<>>::iterator entry) {
    *tensors.find(entry->first) = entry->second();
    pending.erase(entry);
  }
};

LazyTensors::LazyTensors() : state_(std::make_shared<State>()) {}

bool LazyTensors::add(std::string name, Tensor tensor) {
  return state_->tensors.add(std::move(name), std::move(tensor));
}

bool LazyTensors::add(std::string name, DType type, Shape shape, std::function<Tensor()> make) {
  if (!state_->tensors.add(name, Tensor{type, std::move(shape), {}, nullptr})) return false;
  state_->pending.emplace(std::move(name), std::move(make));
  return true;
}

const std::vector<NamedTensor>& LazyTensors::listing() const {
  return state_->tensors.all();
}

const std::vector<NamedTensor>& LazyTensors::all() const {
  const std::lock_guard lock(state_->mutex);
  while (!state_->pending.empty()) state_->make(state_->pending.begin());
  return state_->tensors.all();
}

const Tensor* LazyTensors::find(std::string_view name) const {
  const std::lock_guard lock(state_->mutex);
  const auto entry = state_->pending.find(name);
  if (entry != state_->pending.end()) state_->make(entry);
  return std::as_const(state_->tensors).find(name);
}

std::optional<Tensor> LazyTensors::load(std::string_view name) const {
  std::function<Tensor()> make;
  {
    const std::lock_guard lock(state_->mutex);
    const Tensor* tensor = std::as_const(state_->tensors).find(name);
    if (!tensor) return std::nullopt;
    const auto entry = state_->pending.find(name);
    if (entry == state_->pending.end()) return *tensor;
    make = entry->second;
  }
  return make();
}

}  // namespace junto
