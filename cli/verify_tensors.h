// Reads every value of a checkpoint: files damaged on a disk or on the way, weights that training blew up.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "format/checkpoint.h"

namespace junto {

/// A tensor with values that are not finite (in block formats: with such a scale).
struct BadTensor {
  std::string name;
  std::int64_t nan = 0;
  std::int64_t infinite = 0;
};

struct Verification {
  std::int64_t tensors = 0;
  std::int64_t values = 0;
  std::int64_t checksums = 0;  // of packed experts, all of them right
  std::vector<BadTensor> bad;
};

/// Shows progress on stderr.
Verification verify_tensors(const Checkpoint& checkpoint, ThreadPool& pool);

}  // namespace junto
