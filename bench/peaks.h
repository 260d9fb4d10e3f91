// How fast this machine computes at best: short loops in registers, one set for each instruction set.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/thread_pool.h"
#include "kernels/choose.h"

namespace junto {

/// A loop of independent chains of instructions. A multiplication and an addition are two operations.
struct PeakLoop {
  Isa isa = Isa::kPortable;
  std::string_view name;  // "fma_f32", "dot_int8", "mix_q4": see peaks.cc
  double operations = 0;  // of one pass
  void (*run)(std::int64_t passes) = nullptr;
};

/// All loops that this CPU can run.
std::span<const PeakLoop> peak_loops();

/// Binds each thread of the pool to a core of its own, of those that this process may use. Without it the system may
/// leave two threads on one core for as long as a benchmark runs, where the other core has something else to do.
void pin_workers(ThreadPool& pool);

/// Operations per second of all threads of the pool together: the best of several runs within about `seconds`.
double measure_peak(const PeakLoop& loop, ThreadPool& pool, double seconds = 0.2);

/// The loop `name` of `isa`, or null.
const PeakLoop* find_peak(Isa isa, std::string_view name);

}  // namespace junto
