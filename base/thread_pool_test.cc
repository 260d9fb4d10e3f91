#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <vector>

namespace junto {
namespace {

TEST(ThreadPool, EveryBlockRunsOnce) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (const int blocks : {0, 1, 2, 1000}) {
      std::vector<std::atomic<int>> runs(blocks);
      pool.for_each_block(blocks, [&](std::int64_t block, int worker) {
        EXPECT_LT(worker, threads);
        ++runs[block];
      });
      for (const auto& count : runs) EXPECT_EQ(count, 1);
    }
  }
}

TEST(ThreadPool, ManyShortRegionsInARow) {
  ThreadPool pool(3);
  std::atomic<int> sum{0};
  for (int region = 0; region < 5000; ++region) pool.for_each_block(3, [&](std::int64_t, int) { ++sum; });
  EXPECT_EQ(sum, 15000);
}

TEST(ThreadPool, ExceptionReachesTheCallerAndThePoolGoesOn) {
  ThreadPool pool(2);
  const auto body = [](std::int64_t block, int) {
    if (block == 7) throw std::runtime_error("seven");
  };
  EXPECT_THROW(pool.for_each_block(100, body), std::runtime_error);
  std::atomic<int> runs{0};
  pool.for_each_block(10, [&](std::int64_t, int) { ++runs; });
  EXPECT_EQ(runs, 10);
}

}  // namespace
}  // namespace junto
