#include "kernels/softmax.h"

#include "kernels/row_kernels.h"

namespace junto {

float exp_in_place(std::span<float> x, float shift) {
  return row_kernels().exp_in_place(x.data(), x.size(), shift);
}

void softmax(std::span<float> x) {
  const RowKernels& kernels = row_kernels();
  const float sum = kernels.exp_in_place(x.data(), x.size(), kernels.largest(x.data(), x.size()));
  kernels.scale(x.data(), x.size(), 1 / sum);
}

}  // namespace junto
