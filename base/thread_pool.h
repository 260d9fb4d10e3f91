// Worker threads for the forward pass: work is cut into fixed blocks. Each thread has a range of them, which it claims
// from the front, so that its stream of memory runs on; who has finished takes from the back of others' ranges. The
// share of each thread varies and the result does not.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace junto {

/// A fixed set of threads; the caller's thread is worker 0. One for_each_block at a time, from one thread.
class ThreadPool {
 public:
  /// `threads` 0 takes what the machine (or its cgroup) gives.
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  /// Calls body(block, worker) once for every block in [0, blocks) and returns when all are done. The first exception
  /// of a body is thrown here, after the others have ended.
  template <class Body>
  void for_each_block(std::int64_t blocks, Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    run(
        blocks, [](void* context, std::int64_t block, int worker) { (*static_cast<Plain*>(context))(block, worker); },
        const_cast<std::remove_const_t<Plain>*>(&body));
  }

 private:
  using Call = void (*)(void*, std::int64_t, int);
  void run(std::int64_t blocks, Call call, void* context);
  void work(int worker);
  bool enter(std::uint32_t& seen);
  void claim_blocks(int worker);
  bool claim(int worker, std::int64_t& block);

  std::vector<std::thread> workers_;
  Call call_ = nullptr;
  void* context_ = nullptr;
  std::exception_ptr error_;
  std::atomic_flag has_error_;
  /// Blocks of a worker that nobody has claimed, relative to where its range begins: first | end << 32.
  struct alignas(64) Range {
    std::int64_t begin = 0;
    std::atomic<std::uint64_t> left{0};
  };
  std::unique_ptr<Range[]> ranges_;                 // [threads]
  alignas(64) std::atomic<std::uint32_t> ticket_;   // see thread_pool.cc
  alignas(64) std::atomic<std::uint32_t> left_{0};  // workers that have finished with the open region
  std::atomic<bool> stop_{false};
};

/// Cores that this process may use: affinity and the cgroup's CPU quota, at least 1.
int available_cores();

}  // namespace junto
