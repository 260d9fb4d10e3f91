// Processor time of a stage of the model, forward and backward, beside that of all else.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

namespace junto {

/// Seconds of the processor, of all threads of this process: other work on the machine does not count.
double processor_seconds();

/// Sums the time between start() and stop(). A start() that follows a start() begins anew; a stop() alone is nothing.
class StageClock {
 public:
  void start() { began_ = processor_seconds(); }
  void stop() {
    if (began_ >= 0.0) seconds_ += processor_seconds() - began_;
    began_ = -1.0;
  }
  double seconds() const { return seconds_; }

 private:
  double seconds_ = 0.0, began_ = -1.0;
};

/// stage(x), timed. Backward is timed from the gradient of the result to that of `x`: autograd computes all of the
/// stage between them, because of what is ready it takes what was recorded last. `clock` may be null, and must outlive
/// backward. Values and gradients are those of stage(x), to the bit.
at::Tensor timed(StageClock* clock, const at::Tensor& x, const std::function<at::Tensor(const at::Tensor&)>& stage);

}  // namespace junto
