// What this machine has: memory, and how fast it can be read. The limits that figures are held against.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "base/thread_pool.h"

namespace junto {

/// Bytes that this process may still take without swapping: what the kernel calls available, or what the cgroup's limit
/// leaves, whichever is less, without what is promised. Cached file pages count as available.
std::int64_t available_memory_bytes();

/// Memory that will be touched later, such as empty slots for experts: it does not count as available any more while
/// the promise lives.
class MemoryPromise {
 public:
  explicit MemoryPromise(std::int64_t bytes);
  ~MemoryPromise();
  MemoryPromise(const MemoryPromise&) = delete;
  MemoryPromise& operator=(const MemoryPromise&) = delete;

 private:
  std::int64_t bytes_;
};

/// What this process has in memory now, mapped weights that were read included.
std::int64_t resident_memory_bytes();

/// The processor's name as the system gives it, or "unknown".
std::string processor_name();

/// Sum of `count` words (a multiple of 8): a plain read at the speed of memory, which is what read probes run.
std::uint64_t sum_words(const std::uint64_t* words, std::size_t count);

/// Measures how fast the threads of a pool read memory together: from a buffer larger than the last-level cache, which
/// it holds, so that measuring again costs no new pages.
class ReadProbe {
 public:
  explicit ReadProbe(ThreadPool& pool);

  /// Bytes per second of the best pass within about `seconds`; 0 where there was no memory for the buffer.
  double measure(double seconds = 0.05) const;

 private:
  struct Free {
    void operator()(std::uint64_t* memory) const;
  };
  ThreadPool& pool_;
  std::size_t pieces_ = 0;
  std::unique_ptr<std::uint64_t[], Free> memory_;
};

/// The best that a ReadProbe measured within a day, remembered in the cache folder (limits.json) under the processor's
/// name and thread count; measured again after ten minutes.
double read_bandwidth(ThreadPool& pool);

}  // namespace junto
