#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <string>
#include <utility>

namespace junto {
namespace {

// A waiter spins this often before it sleeps: about 50 us, longer than the gaps between the regions of one layer.
constexpr int kSpins = 4000;

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

template <class T, class Done>
void wait_until(std::atomic<T>& value, Done done) {
  for (int spin = 0; spin < kSpins; ++spin) {
    if (done(value.load(std::memory_order_acquire))) return;
    relax();
  }
  for (T seen = value.load(std::memory_order_acquire); !done(seen); seen = value.load(std::memory_order_acquire)) {
    value.wait(seen, std::memory_order_acquire);
  }
}

}  // namespace

int available_cores() {
  cpu_set_t set;
  int cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  std::ifstream quota("/sys/fs/cgroup/cpu.max");
  std::string limit;
  double period = 0;
  if (quota >> limit >> period && limit != "max" && period > 0) {
    cores = std::min(cores, static_cast<int>(std::ceil(std::strtod(limit.c_str(), nullptr) / period)));
  }
  return std::max(cores, 1);
}

ThreadPool::ThreadPool(int threads) {
  const int count = threads > 0 ? threads : available_cores();
  for (int worker = 1; worker < count; ++worker) workers_.emplace_back([this, worker] { work(worker); });
}

ThreadPool::~ThreadPool() {
  stop_.store(true, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run(std::int64_t blocks, Call call, void* context) {
  if (blocks <= 0) return;
  if (workers_.empty() || blocks == 1) {
    for (std::int64_t block = 0; block < blocks; ++block) call(context, block, 0);
    return;
  }
  call_ = call;
  context_ = context;
  blocks_ = blocks;
  next_block_.store(0, std::memory_order_relaxed);
  running_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  claim_blocks(0);
  wait_until(running_, [](int running) { return running == 0; });
  if (has_error_.test(std::memory_order_acquire)) {
    has_error_.clear();
    std::rethrow_exception(std::exchange(error_, nullptr));
  }
}

void ThreadPool::claim_blocks(int worker) {
  try {
    for (;;) {
      const std::int64_t block = next_block_.fetch_add(1, std::memory_order_relaxed);
      if (block >= blocks_) return;
      call_(context_, block, worker);
    }
  } catch (...) {
    if (!has_error_.test_and_set(std::memory_order_acq_rel)) error_ = std::current_exception();
  }
}

void ThreadPool::work(int worker) {
  std::uint32_t seen = 0;
  for (;;) {
    wait_until(generation_, [&](std::uint32_t generation) { return generation != seen; });
    ++seen;  // run() waits for every worker, so none can miss a generation
    if (stop_.load(std::memory_order_relaxed)) return;
    claim_blocks(worker);
    if (running_.fetch_sub(1, std::memory_order_acq_rel) == 1) running_.notify_one();
  }
}

}  // namespace junto
