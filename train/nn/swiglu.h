// SwiGLU with the combine weight folded in, over rows, forward and backward. gate_up [rows, 2H]: gate, then up
// (Shazeer, arXiv 2002.05202). A value's result has the same bits wherever it stands.
#pragma once

#include <cstdint>

namespace junto {

/// hidden[r, h] = weight[r] * silu(gate[r, h]) * up[r, h], [rows, H].
void weighted_swiglu(const float* gate_up, const float* weight, std::int64_t rows, std::int64_t width, float* hidden);
void weighted_swiglu(const double* gate_up, const double* weight, std::int64_t rows, std::int64_t width,
                     double* hidden);

/// From d_hidden [rows, H]: d_gate_up [rows, 2H] and d_weight [rows].
void weighted_swiglu_backward(const float* gate_up, const float* weight, const float* d_hidden, std::int64_t rows,
                              std::int64_t width, float* d_gate_up, float* d_weight);
void weighted_swiglu_backward(const double* gate_up, const double* weight, const double* d_hidden, std::int64_t rows,
                              std::int64_t width, double* d_gate_up, double* d_weight);

}  // namespace junto
