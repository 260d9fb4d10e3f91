#include "train/nn/parameters.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <cstring>

#include "base/random.h"

namespace junto {
namespace {

/// A stream for each parameter: models that share some of them share their values, whatever else they have.
std::uint64_t seed_of(const std::string& name, std::uint64_t seed) {
  std::uint64_t hash = 0xcbf29ce484222325ull;  // FNV-1a
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  return Random(seed ^ hash).next();
}

}  // namespace

Parameters::Parameters(const std::vector<Request>& requests, std::uint64_t seed) {
  std::int64_t size = 0;
  for (const Request& request : requests) {
    std::int64_t count = 1;
    for (const std::int64_t dimension : request.shape) count *= dimension;
    all_.push_back({.name = request.name, .value = {}, .offset = size, .decays = request.decays});
    size += (count + 15) / 16 * 16;
  }
  values_ = at::zeros({size}, at::kFloat);
  gradients_ = at::zeros({size}, at::kFloat);
  zeroed_.assign(all_.size(), true);
  at::NoGradGuard guard;
  for (std::size_t i = 0; i < all_.size(); ++i) {
    const Request& request = requests[i];
    at::Generator generator = at::detail::createCPUGenerator(seed_of(request.name, seed));
    at::Tensor value = at::empty(request.shape, at::kFloat);
    value.normal_(0.0, 1.0, generator).mul_(request.deviation).add_(request.mean);
    at::Tensor leaf = values_.narrow(0, all_[i].offset, value.numel()).view(request.shape).detach();
    leaf.copy_(value);
    leaf.set_requires_grad(true);
    leaf.mutable_grad() = gradients_.narrow(0, all_[i].offset, value.numel()).view(request.shape);
    all_[i].value = *request.out = leaf;
  }
}

std::shared_ptr<ExpertGradients> Parameters::write_in_place(at::Tensor& gate_up, at::Tensor& down) {
  for (std::size_t i = 0; i < all_.size(); ++i) {
    const void* data = all_[i].value.data_ptr();
    if (data == gate_up.data_ptr() || data == down.data_ptr()) zeroed_[i] = false;
  }
  return in_place_.emplace_back(std::make_shared<ExpertGradients>(gate_up, down));
}

void Parameters::clear_gradients() {
  for (std::size_t i = 0; i < all_.size(); ++i) {
    if (zeroed_[i]) std::memset(all_[i].value.grad().data_ptr(), 0, all_[i].value.nbytes());
  }
  for (const auto& gradients : in_place_) gradients->clear();
}

void Parameters::finish_gradients() {
  for (const auto& gradients : in_place_) {
    if (gradients->filled()) continue;
    std::memset(gradients->gate_up().data_ptr(), 0, gradients->gate_up().nbytes());
    std::memset(gradients->down().data_ptr(), 0, gradients->down().nbytes());
  }
}

std::int64_t Parameters::count() const {
  std::int64_t sum = 0;
  for (const Parameter& parameter : all_) sum += parameter.value.numel();
  return sum;
}

}  // namespace junto
