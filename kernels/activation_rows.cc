#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/matmul.h"

namespace junto {
namespace {

// Q8 of 32 values. A group with a value that is not finite gets the scale NaN, so that its row's results show it.
void quantise_group(const float* x, int count, std::int8_t* q8, float& scale, std::int32_t* sums) {
  float most = 0;
  bool finite = true;
  for (int i = 0; i < count; ++i) {
    most = std::max(most, std::fabs(x[i]));
    finite = finite && std::isfinite(x[i]);
  }
  // Below this the inverse would overflow, and no sum that a float holds would notice the values.
  constexpr float kLeast = 1e-35f;
  std::fill(q8, q8 + 32, std::int8_t{0});
  sums[0] = sums[1] = 0;
  scale = finite ? 0.0f : std::numeric_limits<float>::quiet_NaN();
  if (!finite || most < kLeast) return;
  scale = most / 127;
  const float inverse = 127 / most;
  for (int i = 0; i < count; ++i) {
    q8[i] = static_cast<std::int8_t>(std::lrint(x[i] * inverse));
    sums[i / 16] += q8[i];
  }
}

}  // namespace

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
    const float* x = x_.data + r * x_.stride;
    std::int8_t* q8 = q8_.data() + r * q8_stride_;
    float* scales = scales_.data() + r * (q8_stride_ / 32);
    std::int32_t* sums = sums_.data() + r * (q8_stride_ / 16);
    for (std::int64_t at = 0; at < q8_stride_; at += 32) {
      const auto count = static_cast<int>(std::clamp<std::int64_t>(x_.cols - at, 0, 32));
      quantise_group(x + std::min(at, x_.cols), count, q8 + at, scales[at / 32], sums + at / 16);
    }
  }
}

void ActivationRows::quantise_all() {
  reserve_q8();
  quantise(0, x_.rows);
}

}  // namespace junto
