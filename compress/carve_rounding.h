// Down matrices rounded to a type so that the errors of different neurons cancel on a calibration text.
#pragma once

#include "base/thread_pool.h"
#include "compress/carve_statistics.h"
#include "tensor/tensor.h"
#include "tensor/view.h"

namespace junto {

/// [F, D] of `type`: row n holds the outputs of neuron n, column n of `down` [D, F]. Neurons are rounded one after the
/// other, those of most energy first, each with what the earlier ones' errors ask of it, so that the sum over neurons
/// of activation times error stays small in squares over the squared norm of the residual stream (GPTQ, Frantar et al.
/// 2023, arXiv:2210.17323, as Babai's nearest plane). A type without blocks is encoded as it is. Throws Error where a
/// value is not finite.
Tensor round_columns(const BlockSample& sample, MatrixView<const float> down, DType type, ThreadPool& pool);

}  // namespace junto
