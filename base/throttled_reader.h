// A slower disk than there is: for measurements and plans, where the rate has to be known.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>

#include "base/block_reader.h"

namespace junto {

/// A disk that serves one read after the other, with that many bytes per second. Readers of several files share one.
class RateLimit {
 public:
  /// bytes_per_s > 0.
  explicit RateLimit(double bytes_per_s) : bytes_per_s_(bytes_per_s) {}
  /// Returns when the disk would have served `bytes` more. Any thread may call it; it is served in the order of calls.
  void serve(std::size_t bytes);

 private:
  double bytes_per_s_;
  std::mutex mutex_;
  std::chrono::steady_clock::time_point free_at_;  // when all that was asked for is served
};

/// Reads as `reader` does, no faster than `limit`. It has no descriptor: nobody can read past the limit.
std::unique_ptr<BlockReader> throttle(std::unique_ptr<BlockReader> reader, std::shared_ptr<RateLimit> limit);

}  // namespace junto
