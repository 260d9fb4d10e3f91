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

std::vector<std::int64_t> kept_shape(const Parameters::Request& request) {
  std::vector<std::int64_t> shape = request.shape;
  if (request.rows) shape[0] = std::ssize(*request.rows);
  return shape;
}

}  // namespace

std::int64_t Parameter::whole_count() const {
  if (whole_rows == 0) return value.numel();
  std::int64_t count = whole_rows;
  for (std::int64_t d = 1; d < value.dim(); ++d) count *= value.size(d);
  return count;
}

double sum_of_squares(const float* values, std::int64_t count) {
  double lanes[8] = {};
  std::int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    for (int lane = 0; lane < 8; ++lane) lanes[lane] += static_cast<double>(values[i + lane]) * values[i + lane];
  }
  for (; i < count; ++i) lanes[0] += static_cast<double>(values[i]) * values[i];
  double sum = 0.0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

Parameters::Parameters(const std::vector<Request>& requests, std::uint64_t seed) {
  std::int64_t size = 0;
  for (const Request& request : requests) {
    std::int64_t count = 1;
    for (const std::int64_t dimension : kept_shape(request)) count *= dimension;
    all_.push_back({.name = request.name, .value = {}, .offset = size, .decays = request.decays});
    if (request.rows) all_.back().whole_rows = request.shape[0];
    size += padded(count);
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
    if (request.rows && std::ssize(*request.rows) < request.shape[0]) {
      const std::vector<std::int64_t> rows(request.rows->begin(), request.rows->end());
      value = value.index_select(0, at::tensor(rows, at::kLong));
    }
    const std::vector<std::int64_t> shape = kept_shape(request);
    at::Tensor leaf = values_.narrow(0, all_[i].offset, value.numel()).view(shape).detach();
    leaf.copy_(value);
    leaf.set_requires_grad(true);
    leaf.mutable_grad() = gradients_.narrow(0, all_[i].offset, value.numel()).view(shape);
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
  for (const Parameter& parameter : all_) sum += parameter.whole_count();
  return sum;
}

}  // namespace junto
