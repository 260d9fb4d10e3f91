// What an expert leaves where it is not chosen: a constant output instead of nothing.
#pragma once

#include <cstdint>
#include <vector>

#include "base/thread_pool.h"
#include "compress/carve_statistics.h"
#include "tensor/view.h"

namespace junto {

/// [experts, D]: the constants m_e whose sum over the experts that a token does not choose comes nearest to what those
/// experts would have put out, in squares over the squared norm of the residual stream, summed over the tokens and the
/// `shares` numbers of chosen experts. One least-squares system for all experts: those that are absent together answer
/// for their sum. `down` [D, F]; chosen [experts, T]: at how many of the shares a token has the expert, over `shares`.
Matrix<float> fit_unchosen_outputs(const BlockSample& sample, MatrixView<const float> down,
                                   const std::vector<std::vector<std::int32_t>>& experts,
                                   MatrixView<const float> chosen, int shares, ThreadPool& pool);

}  // namespace junto
