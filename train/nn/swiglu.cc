#include "train/nn/swiglu.h"

#include "train/nn/exponential.h"

namespace junto {
namespace {

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
  for (std::int64_t row = 0; row < rows; ++row) {
    const T* gate = gate_up + row * 2 * width;
    const T* up = gate + width;
    const T* d = d_hidden + row * width;
    T* d_gate = d_gate_up + row * 2 * width;
    T* d_up = d_gate + width;
    const T w = weight[row];
    T lanes[kRowLanes] = {};
    const auto one = [&](std::int64_t h, T & sum) __attribute__((always_inline)) {
      const T sigmoid = T(1) / (T(1) + exponential(-gate[h]));
      const T silu = gate[h] * sigmoid;
      const T scaled = w * d[h];
      sum += silu * up[h] * d[h];
      d_up[h] = scaled * silu;
      d_gate[h] = scaled * up[h] * (sigmoid + silu * (T(1) - sigmoid));
    };
    std::int64_t h = 0;
    for (; h + kRowLanes <= width; h += kRowLanes) {
#pragma GCC ivdep
      for (int lane = 0; lane < kRowLanes; ++lane) one(h + lane, lanes[lane]);
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
