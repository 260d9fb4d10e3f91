#include "kernels/matmul.h"
#include "kernels/row_kernels.h"

namespace junto {

void ActivationRows::assign(MatrixView<const float> x) {
  x_ = x;
  has_q8_ = false;
}

void ActivationRows::reserve_q8() {
  groups_per_row_ = (x_.cols + 255) / 256 * 8;
  const auto count = static_cast<std::size_t>(x_.rows * groups_per_row_);
  if (groups_.size() < count) groups_.resize(count);
  has_q8_ = true;
}

void ActivationRows::quantise(std::int64_t begin, std::int64_t end) {
  const RowKernels& kernels = row_kernels();
  for (std::int64_t r = begin; r < end; ++r) {
    kernels.quantise_q8(x_.data + r * x_.stride, static_cast<std::size_t>(x_.cols),
                        static_cast<std::size_t>(groups_per_row_), groups_.data() + r * groups_per_row_);
  }
}

void ActivationRows::quantise_all() {
  reserve_q8();
  quantise(0, x_.rows);
}

}  // namespace junto
