// Adafactor (Shazeer and Stern, arXiv 1804.04235): second moments of a matrix as one value a row and one a column,
// updates clipped by their own size.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "train/loop/optimizer.h"
#include "train/nn/parameters.h"

namespace junto {

/// Where the second moments of a parameter stand. A matrix [rows, columns] has a mean of squares for each row, then one
/// for each column; a stack of matrices [stack, rows, columns] so much for each of them, one after the other; a vector
/// has one for each value.
struct FactoredPlace {
  std::int64_t offset = 0;                        // in the flat array of all second moments
  std::int64_t stack = 1, rows = 0, columns = 0;  // rows 0: a vector of `columns` values

  std::int64_t of_one() const { return rows + columns; }
  std::int64_t size() const { return stack * of_one(); }
};
/// One for each parameter, and behind them one that is empty, at the size of the whole.
std::vector<FactoredPlace> factored_places(const Parameters& parameters);

/// Update number `step` (from 1), with g = gradient * gradient_scale, row and column means R, C:
///   b = 1 - step^-beta2_exponent;  R = b R + (1 - b) (mean of g^2 in the row + eps), C likewise
///   u = g / sqrt(R C / mean of R);  u /= max(1, RMS(u) / clip_update)
///   w -= r a u,  with a = max(1e-3, RMS(w)) where relative_step is set, otherwise 1
/// with decay of matrices before. Where there are first moments, m = beta1 m + (1 - beta1) u takes u's place. RMS and a
/// are those of one matrix of a stack. Bits do not depend on the number of threads.
void update_adafactor(Optimizer& state, const OptimizerOptions& options, Parameters& parameters, double learning_rate,
                      double gradient_scale, const std::vector<bool>& frozen);

/// Second moments of `to`, whose parameters may have more rows or matrices than those of `from`: one past the old ones
/// is a copy of that which stands as many places before, as their values are.
at::Tensor moved_factors(const at::Tensor& second, const Parameters& from, const Parameters& to);

}  // namespace junto
