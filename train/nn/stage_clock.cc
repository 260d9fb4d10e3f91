#include "train/nn/stage_clock.h"

#include <ATen/ATen.h>
#include <time.h>
#include <torch/csrc/autograd/custom_function.h>

namespace junto {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// The identity, whose backward starts or stops a clock.
struct ClockMark : torch::autograd::Function<ClockMark> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, std::int64_t clock, bool starts) {
    context->saved_data["clock"] = clock;
    context->saved_data["starts"] = starts;
    return x.view(x.sizes());
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    auto* const clock = reinterpret_cast<StageClock*>(context->saved_data["clock"].toInt());
    if (context->saved_data["starts"].toBool()) {
      clock->start();
    } else {
      clock->stop();
    }
    return {gradients[0], at::Tensor(), at::Tensor()};
  }
};

}  // namespace

double processor_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

at::Tensor timed(StageClock* clock, const at::Tensor& x, const std::function<at::Tensor(const at::Tensor&)>& stage) {
  if (clock == nullptr) return stage(x);
  const auto address = reinterpret_cast<std::int64_t>(clock);
  const at::Tensor begin = ClockMark::apply(x, address, false);
  clock->start();
  const at::Tensor out = stage(begin);
  clock->stop();
  return ClockMark::apply(out, address, true);
}

}  // namespace junto
