#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <string>
#include <utility>

namespace junto {
namespace {

// A waiter spins this often before it sleeps: about 50 us, longer than the gaps between the regions of one layer.
constexpr int kSpins = 4000;
constexpr std::int64_t kMostBlocks = std::int64_t{1} << 31;

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

// ticket_ = generation << 12 | closed << 11 | workers that entered. The caller opens a region with a new generation,
// works, and closes it: whoever has not entered by then stays out, so that a worker without a core (an oversubscribed
// machine) never holds up a region that others have finished.
constexpr std::uint32_t kEntered = 0x7ff;
constexpr std::uint32_t kClosed = 0x800;

std::uint32_t generation_of(std::uint32_t ticket) {
  return ticket >> 12;
}
std::uint32_t next_generation(std::uint32_t ticket) {
  return (generation_of(ticket) + 1) << 12;
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

ThreadPool::ThreadPool(int threads) : ticket_(kClosed) {
  const int count = std::min(threads > 0 ? threads : available_cores(), static_cast<int>(kEntered));
  ranges_ = std::make_unique<Range[]>(static_cast<std::size_t>(count));
  for (int worker = 1; worker < count; ++worker) workers_.emplace_back([this, worker] { work(worker); });
}

ThreadPool::~ThreadPool() {
  stop_.store(true, std::memory_order_relaxed);
  ticket_.store(next_generation(ticket_.load(std::memory_order_relaxed)), std::memory_order_release);
  ticket_.notify_all();
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
  if (blocks > kMostBlocks) throw std::length_error("more blocks of work than a thread pool takes");
  for (int worker = 0; worker < threads(); ++worker) {
    Range& range = ranges_[static_cast<std::size_t>(worker)];
    range.begin = blocks * worker / threads();
    const std::int64_t own = blocks * (worker + 1) / threads() - range.begin;
    range.left.store(static_cast<std::uint64_t>(own) << 32, std::memory_order_relaxed);
  }
  left_.store(0, std::memory_order_relaxed);
  ticket_.store(next_generation(ticket_.load(std::memory_order_relaxed)), std::memory_order_release);
  ticket_.notify_all();
  claim_blocks(0);
  const std::uint32_t entered = ticket_.fetch_or(kClosed, std::memory_order_acq_rel) & kEntered;
  wait_until(left_, [&](std::uint32_t left) { return left == entered; });
  if (has_error_.test(std::memory_order_acquire)) {
    has_error_.clear();
    std::rethrow_exception(std::exchange(error_, nullptr));
  }
}

// The first block that is left of the worker's own range, or the last one of another's.
bool ThreadPool::claim(int worker, std::int64_t& block) {
  constexpr std::uint64_t kFirst = 0xffffffff, kOneFromBack = std::uint64_t{1} << 32;
  for (int i = 0; i < threads(); ++i) {
    Range& range = ranges_[static_cast<std::size_t>((worker + i) % threads())];
    std::uint64_t left = range.left.load(std::memory_order_relaxed);
    while ((left & kFirst) < left >> 32) {
      const std::uint64_t then = i == 0 ? left + 1 : left - kOneFromBack;
      if (!range.left.compare_exchange_weak(left, then, std::memory_order_relaxed)) continue;
      block = range.begin + static_cast<std::int64_t>(i == 0 ? left & kFirst : (left >> 32) - 1);
      return true;
    }
  }
  return false;
}

void ThreadPool::claim_blocks(int worker) {
  try {
    for (std::int64_t block = 0; claim(worker, block);) call_(context_, block, worker);
  } catch (...) {
    if (!has_error_.test_and_set(std::memory_order_acq_rel)) error_ = std::current_exception();
  }
}

// Waits for a generation after `seen`; false where that region was closed before this worker came.
bool ThreadPool::enter(std::uint32_t& seen) {
  const auto is_new = [&](std::uint32_t ticket) { return generation_of(ticket) != seen; };
  wait_until(ticket_, is_new);
  std::uint32_t ticket = ticket_.load(std::memory_order_acquire);
  seen = generation_of(ticket);
  while ((ticket & kClosed) == 0 && generation_of(ticket) == seen) {
    if (ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel)) return true;
  }
  return false;
}

void ThreadPool::work(int worker) {
  std::uint32_t seen = generation_of(kClosed);
  for (;;) {
    const bool entered = enter(seen);
    if (stop_.load(std::memory_order_relaxed)) return;
    if (!entered) continue;
    claim_blocks(worker);
    left_.fetch_add(1, std::memory_order_acq_rel);
    left_.notify_one();
  }
}

}  // namespace junto
