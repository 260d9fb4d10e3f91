#include "kernels/matmul.h"
#include "kernels/row_kernels.h"

namespace junto {
void ActivationRows::assign(MatrixView<const float> x) {
  x_ = x;
  has_q8_ = false;
}

void ActivationRows::reserve_q8() {
  q8_stride_ = (x_.cols + 255) / 256 * 256;
  const auto count = static_cast<std::size_t>(x_.rows * q8_stride_);
  if (q8_.size() < count) {
    q8_.resize(count);
    scales_.resize(count / 32);
    sums_.resize(count / 16);
  }
  has_q8_ = true;
}

void ActivationRows::quantise(std::int64_t begin, std::int64_t end) {
  for (std::int64_t r = begin; r < end; ++r) {
    row_kernels().quantise_q8(x_.data + r * x_.stride, static_cast<std::size_t>(x_.cols),
                              static_cast<std::size_t>(q8_stride_), q8_.data() + r * q8_stride_,
                              scales_.data() + r * (q8_stride_ / 32), sums_.data() + r * (q8_stride_ / 16));
  }
}

void ActivationRows::quantise_all() {
  reserve_q8();
  quantise(0, x_.rows);
}

}  // namespace junto
