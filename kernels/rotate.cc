#include "kernels/rotate.h"

#include "kernels/row_kernels.h"

namespace junto {

void rotate_halves(std::span<float> x, std::span<const float> cosines, std::span<const float> sines) {
  row_kernels().rotate_halves(x.data(), cosines.data(), sines.data(), cosines.size());
}

void rotate_neighbours(std::span<float> x, std::span<const float> cosines, std::span<const float> sines) {
  row_kernels().rotate_neighbours(x.data(), cosines.data(), sines.data(), cosines.size());
}

}  // namespace junto
