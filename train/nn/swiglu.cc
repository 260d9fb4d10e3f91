#include "train/nn/swiglu.h"

#include <bit>
#include <cmath>

// One source, compiled for three instruction sets, chosen once when the program is loaded.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define JUNTO_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define JUNTO_CLONES
#endif

namespace junto {
namespace {

/// e^x to 2 ulp, without branches, so that loops over it become vectors. x is clamped to where e^x is a normal number.
[[gnu::always_inline]] inline float exponential(float x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  const float power = (x * 1.44269504f + kRound) - kRound;
  const float r = (x - power * 0.693359375f) - power * -2.12194440e-4f;
  float poly = 1.9875691500e-4f;  // Cephes, expf: r in -ln2/2..ln2/2
  poly = poly * r + 1.3981999507e-3f;
  poly = poly * r + 8.3334519073e-3f;
  poly = poly * r + 4.1665795894e-2f;
  poly = poly * r + 1.6666665459e-1f;
  poly = poly * r + 5.0000001201e-1f;
  poly = poly * r * r + r + 1.0f;
  return poly * std::bit_cast<float>((static_cast<std::int32_t>(power) + 127) << 23);
}
[[gnu::always_inline]] inline double exponential(double x) {
  return std::exp(x);
}

template <class T>
[[gnu::always_inline]] inline void forward_rows(const T* gate_up, const T* weight, std::int64_t rows,
                                                std::int64_t width, T* hidden) {
  for (std::int64_t row = 0; row < rows; ++row) {
    const T* gate = gate_up + row * 2 * width;
    const T* up = gate + width;
    T* out = hidden + row * width;
    const T w = weight[row];
#pragma GCC ivdep
    for (std::int64_t h = 0; h < width; ++h) out[h] = w * (gate[h] / (T(1) + exponential(-gate[h]))) * up[h];
  }
}

template <class T>
[[gnu::always_inline]] inline void backward_rows(const T* gate_up, const T* weight, const T* d_hidden,
                                                 std::int64_t rows, std::int64_t width, T* d_gate_up, T* d_weight) {
  constexpr int kLanes = 16;  // partial sums of d_weight: a fixed order on every instruction set
  for (std::int64_t row = 0; row < rows; ++row) {
    const T* gate = gate_up + row * 2 * width;
    const T* up = gate + width;
    const T* d = d_hidden + row * width;
    T* d_gate = d_gate_up + row * 2 * width;
    T* d_up = d_gate + width;
    const T w = weight[row];
    T lanes[kLanes] = {};
    const auto one = [&](std::int64_t h, T & sum) __attribute__((always_inline)) {
      const T sigmoid = T(1) / (T(1) + exponential(-gate[h]));
      const T silu = gate[h] * sigmoid;
      const T scaled = w * d[h];
      sum += silu * up[h] * d[h];
      d_up[h] = scaled * silu;
      d_gate[h] = scaled * up[h] * (sigmoid + silu * (T(1) - sigmoid));
    };
    std::int64_t h = 0;
    for (; h + kLanes <= width; h += kLanes) {
#pragma GCC ivdep
      for (int lane = 0; lane < kLanes; ++lane) one(h + lane, lanes[lane]);
    }
    for (; h < width; ++h) one(h, lanes[0]);
    T sum = 0;
    for (const T lane : lanes) sum += lane;
    d_weight[row] = sum;
  }
}

}  // namespace

JUNTO_CLONES void weighted_swiglu(const float* gate_up, const float* weight, std::int64_t rows, std::int64_t width,
                                  float* hidden) {
  forward_rows(gate_up, weight, rows, width, hidden);
}

void weighted_swiglu(const double* gate_up, const double* weight, std::int64_t rows, std::int64_t width,
                     double* hidden) {
  forward_rows(gate_up, weight, rows, width, hidden);
}

JUNTO_CLONES void weighted_swiglu_backward(const float* gate_up, const float* weight, const float* d_hidden,
                                           std::int64_t rows, std::int64_t width, float* d_gate_up, float* d_weight) {
  backward_rows(gate_up, weight, d_hidden, rows, width, d_gate_up, d_weight);
}

void weighted_swiglu_backward(const double* gate_up, const double* weight, const double* d_hidden, std::int64_t rows,
                              std::int64_t width, double* d_gate_up, double* d_weight) {
  backward_rows(gate_up, weight, d_hidden, rows, width, d_gate_up, d_weight);
}

}  // namespace junto
