#include "kernels/norm.h"

#include "kernels/row_kernels.h"

namespace junto {
namespace {

const float* or_null(std::span<const float> values) {
  return values.empty() ? nullptr : values.data();
}

}  // namespace

void rms_norm(std::span<const float> x, std::span<const float> weight, float eps, std::span<float> out) {
  row_kernels().rms_norm(x.data(), or_null(weight), x.size(), eps, out.data());
}

void layer_norm(std::span<const float> x, std::span<const float> weight, std::span<const float> bias, float eps,
                std::span<float> out) {
  row_kernels().layer_norm(x.data(), or_null(weight), or_null(bias), x.size(), eps, out.data());
}

void l2_norm(std::span<const float> x, float eps, std::span<float> out) {
  row_kernels().l2_norm(x.data(), x.size(), eps, out.data());
}

}  // namespace junto
