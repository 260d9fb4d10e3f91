// From one block's sample to its groups and its router: which neurons stand together, which are always on, and which
// groups a token gets, read off the block's input by one linear map. All in closed form: no gradient descent.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "compress/carve_statistics.h"
#include "tensor/view.h"

namespace junto {

struct CarveShape {
  int experts = 48;  // groups in all, E; equal in size
  int shared = 16;   // of them always on, S

  int routed() const { return experts - shared; }
};

struct BlockCarving {
  std::vector<std::int32_t> shared;                // neurons of the shared expert, ascending
  std::vector<std::vector<std::int32_t>> experts;  // [E - S]: neurons of each routed expert, ascending
  Matrix<float> router;                            // [E - S, D]
  std::vector<float> router_bias;                  // [E - S]
  Matrix<float> unchosen_output;                   // [E - S, D]: what an expert leaves where it is not chosen
  double captured = 0;        // share of the contributions' energy that is computed, mean over the fitted shares
  double captured_ideal = 0;  // the same with each token's best groups chosen
};

struct FitOptions {
  std::vector<int> chosen = {};  // how many routed experts a token will have: fitted for the mean of these
  double ridge = 1e-3;
  int rounds = 8;  // of regrouping
};

/// `down` [D, F]: the block's down matrix.
BlockCarving carve_block(const BlockSample& sample, MatrixView<const float> down, const CarveShape& shape,
                         const FitOptions& options, ThreadPool& pool);

}  // namespace junto
