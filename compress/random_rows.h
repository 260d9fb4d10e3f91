// Random weights at the speed of the disk: rows made of blocks drawn from a small set that was encoded once.
#pragma once

#include <cstdint>
#include <string>

#include "base/thread_pool.h"
#include "format/named_tensors.h"

namespace junto {

/// A tensor of `type` whose values are near normal with `mean` and standard deviation `spread`. The same `seed` and
/// name give the same bytes, whatever the number of threads. `pool` must live until the tensor is written.
TensorToWrite random_rows(std::string name, Shape shape, DType type, float mean, float spread, std::uint64_t seed,
                          ThreadPool& pool);

}  // namespace junto
