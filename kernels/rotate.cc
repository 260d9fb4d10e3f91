#include "kernels/rotate.h"

#include <cstddef>

namespace junto {

void rotate_halves(std::span<float> x, std::span<const float> cosines, std::span<const float> sines) {
  const std::size_t half = cosines.size();
  for (std::size_t i = 0; i < half; ++i) {
    const float a = x[i], b = x[i + half];
    x[i] = a * cosines[i] - b * sines[i];
    x[i + half] = b * cosines[i] + a * sines[i];
  }
}

void rotate_neighbours(std::span<float> x, std::span<const float> cosines, std::span<const float> sines) {
  for (std::size_t i = 0; i < cosines.size(); ++i) {
    const float a = x[2 * i], b = x[2 * i + 1];
    x[2 * i] = a * cosines[i] - b * sines[i];
    x[2 * i + 1] = b * cosines[i] + a * sines[i];
  }
}

}  // namespace junto
