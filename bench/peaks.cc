// The loops of every instruction set:
//   fma_f32   fused multiply-add of F32
//   dot_int8  products of bytes alone: vpdpbusd (AVX-512), vpmaddubsw (AVX2, whose sums come on top)
//   mix_q4    what a kernel needs for 32 columns of Q4_0: eight of those, their sum, and in F32 a product and a sum
#include "bench/peaks.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <vector>

namespace junto {

#if defined(__x86_64__)
extern const PeakLoop kPeaksAvx2[3];
extern const PeakLoop kPeaksAvx512[3];
#endif

namespace {

std::vector<PeakLoop> find_loops() {
  std::vector<PeakLoop> loops;
  for (const Isa isa : available_isas()) {
#if defined(__x86_64__)
    if (isa == Isa::kAvx2) loops.insert(loops.end(), std::begin(kPeaksAvx2), std::end(kPeaksAvx2));
    if (isa == Isa::kAvx512) loops.insert(loops.end(), std::begin(kPeaksAvx512), std::end(kPeaksAvx512));
#endif
    static_cast<void>(isa);
  }
  return loops;
}

double seconds_of(const PeakLoop& loop, ThreadPool& pool, std::int64_t passes) {
  const auto begin = std::chrono::steady_clock::now();
  pool.for_each_block(pool.threads(), [&](std::int64_t, int) { loop.run(passes); });
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

std::span<const PeakLoop> peak_loops() {
  static const std::vector<PeakLoop> loops = find_loops();
  return loops;
}

void pin_workers(ThreadPool& pool) {
  cpu_set_t allowed;
  if (pool.threads() == 1 || sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  std::vector<int> cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &allowed)) cores.push_back(core);
  }
  // Each block waits for the others, so that each worker takes exactly one.
  std::atomic<int> arrived{0};
  pool.for_each_block(pool.threads(), [&](std::int64_t, int worker) {
    ++arrived;
    while (arrived < pool.threads()) sched_yield();
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cores[static_cast<std::size_t>(worker) % cores.size()], &one);
    sched_setaffinity(0, sizeof one, &one);
  });
}

double measure_peak(const PeakLoop& loop, ThreadPool& pool, double seconds) {
  std::int64_t passes = 1000;
  constexpr double kRun_s = 0.01;  // long enough for a region's start not to count
  while (seconds_of(loop, pool, passes) < kRun_s) passes *= 2;
  double best_s = seconds_of(loop, pool, passes);
  for (int run = 1; run < static_cast<int>(seconds / best_s); ++run) {
    best_s = std::min(best_s, seconds_of(loop, pool, passes));
  }
  return static_cast<double>(pool.threads() * passes) * loop.operations / best_s;
}

const PeakLoop* find_peak(Isa isa, std::string_view name) {
  for (const PeakLoop& loop : peak_loops()) {
    if (loop.isa == isa && loop.name == name) return &loop;
  }
  return nullptr;
}

}  // namespace junto
