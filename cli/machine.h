// What this machine has: memory, and how fast it can be read. The limits that figures are held against.
#pragma once

#include <cstdint>

#include "base/thread_pool.h"

namespace junto {

/// Bytes that this process may still take without swapping: what the kernel calls available, or what the cgroup's limit
/// leaves, whichever is less. Cached file pages count as available.
std::int64_t available_memory_bytes();

/// The most that this process has had in memory so far, mapped weights included.
std::int64_t peak_memory_bytes();

/// Bytes per second that the threads of `pool` read together from a buffer several times the last-level cache, the best
/// pass of about `seconds`.
double measure_read_bandwidth(ThreadPool& pool, double seconds = 0.05);

/// The same, remembered for a day in the cache folder (limits.json) under the processor's name and thread count.
double read_bandwidth(ThreadPool& pool);

}  // namespace junto
