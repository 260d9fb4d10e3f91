// The kernels on rows of floats (norms, activation functions, softmax, rotation, attention's inner products, Q8 of
// activations): one table of functions for each instruction set, made from the templates in row_kernels_lanes.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/activation_functions.h"
#include "kernels/choose.h"
#include "kernels/matmul.h"

namespace junto {

struct RowKernels {
  // norm.h; weight and bias may be null
  void (*rms_norm)(const float* x, const float* weight, std::size_t count, float eps, float* out);
  void (*layer_norm)(const float* x, const float* weight, const float* bias, std::size_t count, float eps, float* out);
  void (*l2_norm)(const float* x, std::size_t count, float eps, float* out);
  // activation_functions.h
  void (*activation)(ActivationFunction f, const float* x, std::size_t count, float* out);
  void (*gated)(ActivationFunction f, const float* gate, const float* up, std::size_t count, float* out);
  void (*swiglu_clamped)(const float* gate, const float* up, std::size_t count, float limit, float alpha, float* out);
  void (*softcap)(float* x, std::size_t count, float cap);
  // softmax.h
  float (*largest)(const float* x, std::size_t count);
  float (*exp_in_place)(float* x, std::size_t count, float shift);
  void (*scale)(float* x, std::size_t count, float factor);
  // rotate.h
  void (*rotate_halves)(float* x, const float* cosines, const float* sines, std::size_t half);
  void (*rotate_neighbours)(float* x, const float* cosines, const float* sines, std::size_t half);
  // attention.h; rows are `stride` bytes apart
  using DotKeys = void (*)(const float* q, std::size_t dim, const std::byte* keys, std::size_t stride,
                           std::size_t count, float* scores);
  using AccumulateValues = void (*)(const float* weights, std::size_t count, const std::byte* values,
                                    std::size_t stride, std::size_t dim, float* out);
  DotKeys dot_keys_f32, dot_keys_f16, dot_keys_q8_0;
  AccumulateValues accumulate_f32, accumulate_f16, accumulate_q8_0;
  // The same for several queries over a page of kPageKeys keys, which stand by dimension: see attention.h
  using ScorePage = void (*)(const float* const* q, int queries, std::size_t dim, const std::byte* keys,
                             float* const* scores);
  using AddValues = void (*)(const float* const* weights, int queries, std::size_t count, const std::byte* values,
                             std::size_t stride, std::size_t dim, float* const* out);
  ScorePage score_page_f32, score_page_f16, score_page_q8_0;
  AddValues add_values_f32, add_values_f16, add_values_q8_0;
  void (*store_f16)(const float* x, std::size_t count, std::byte* row);
  void (*store_q8_0)(const float* x, std::size_t count, std::byte* row);
  // ActivationRows: `count` values into `groups` groups of 32, zeros behind them
  void (*quantise_q8)(const float* x, std::size_t count, std::size_t groups, Q8Group* out);
};

/// The table of one instruction set; it must be available.
const RowKernels& row_kernels(Isa isa);

/// The table in use.
const RowKernels& row_kernels();

/// What every table but the portable one must equal to the bit; for tests.
const RowKernels& row_kernels_twin();

}  // namespace junto
