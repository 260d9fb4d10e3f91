// How a peak loop is built; for peaks_*.cc. Everything stands in templates over an instruction set's own types, so that
// files compiled for different sets share no code.
#pragma once

#include <cstdint>

namespace junto {

/// Carries kChains independent values through step() `passes` times. step() must hide its work from the optimiser.
template <int kChains, class V, class Step>
[[gnu::always_inline]] inline void run_chains(std::int64_t passes, V start, Step step) {
  V chains[kChains];
#pragma GCC unroll 16
  for (int c = 0; c < kChains; ++c) chains[c] = start;
  for (std::int64_t pass = 0; pass < passes; ++pass) {
#pragma GCC unroll 16
    for (int c = 0; c < kChains; ++c) step(chains[c]);
  }
}

}  // namespace junto
