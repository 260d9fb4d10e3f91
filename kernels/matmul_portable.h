// The reference product: plain C++ on the stored layout, for every format, from the definition of its block.
#pragma once

#include "kernels/matmul.h"

namespace junto {

void matmul_portable(const WeightMatrix& w, RowRange range, const ActivationRows& x,
                     std::span<const std::int32_t> x_rows, MatrixView<float> out,
                     std::span<const std::int32_t> out_rows);

}  // namespace junto
