// How fast matrices are multiplied: every format x instruction set x shape x rows per expert, on interleaved weights.
//
//   kernels [--benchmark_filter=REGEX] [--benchmark_format=json] [--benchmark_min_time=SECONDS]
//   JUNTO_BENCH_THREADS, JUNTO_BENCH_GIB: threads (default: all cores) and GiB of weights (default 3)
//
// As in a MoE layer: one parallel region computes 8 experts chosen at random, threads claim (expert, block of rows).
// The experts together are far larger than the caches, so weights come from memory. Each step is followed by a plain
// read of as many bytes of other experts, with the same blocks and threads: the limit of the moment, as memory's speed
// changes from second to second. Figures are medians of steps:
//
//   GB_s   bytes of weights per second        read_GB_s   those of the read beside it
//   Gop_s  operations (2 per weight and row)  mix_Gop_s   what the instructions allow (mix_q4 or fma_f32, peaks.h)
//   best_Gop_s  of the fastest step
//   share  time at the limit / time taken, where the limit is the slower of read and instructions
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/thread_pool.h"
#include "bench/peaks.h"
#include "cli/machine.h"
#include "kernels/interleave.h"
#include "kernels/matmul_kernels.h"
#include "tensor/block_formats.h"

namespace junto {
namespace {

constexpr int kExperts = 8;  // of one region
constexpr std::int64_t kMaxRows = 512;

struct Shape {
  std::int64_t rows, cols;
};
constexpr Shape kShapes[] = {{1024, 2048}, {2048, 1024}};  // OLMoE: gate and up, down

struct Case {
  DType type;
  Isa isa;
  Shape shape;
  std::int64_t x_rows;  // per expert
};

double setting(const char* name, double otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr && std::atof(value) > 0 ? std::atof(value) : otherwise;
}

std::vector<float> random_values(std::size_t count) {
  std::mt19937 generator(1);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(generator);
  return values;
}

// Memory full of copies of one interleaved matrix, made again where type or shape change.
class Experts {
 public:
  explicit Experts(ThreadPool& pool) : pool_(pool) {
    bytes_ = static_cast<std::size_t>(setting("JUNTO_BENCH_GIB", 3) * (1 << 30));
    bytes_ = std::min(bytes_, static_cast<std::size_t>(available_memory_bytes() / 2));
    memory_ = allocate_weights(bytes_);
  }
  void fill(DType type, Shape shape) {
    if (one_.type == type && one_.rows == shape.rows && one_.cols == shape.cols && one_.data != nullptr) return;
    const std::vector<float> values = random_values(static_cast<std::size_t>(shape.rows * shape.cols));
    std::vector<std::byte> stored(bytes_of(type, shape.rows * shape.cols));
    encode_values(type, values, stored.data());
    one_ = interleave(make_weights({type, {shape.rows, shape.cols}, stored, nullptr}), pool_);
    step_ = (one_.bytes() + 4095) / 4096 * 4096;
    pool_.for_each_block(count(), [&](std::int64_t i, int) { std::memcpy(at(i), one_.data, one_.bytes()); });
  }
  std::int64_t count() const { return static_cast<std::int64_t>(bytes_ / step_); }
  std::byte* at(std::int64_t i) const { return memory_.get() + static_cast<std::size_t>(i) * step_; }
  WeightMatrix expert(std::int64_t i) const { return interleaved_weights(one_.type, one_.rows, one_.cols, at(i), {}); }

 private:
  ThreadPool& pool_;
  std::size_t bytes_ = 0, step_ = 1;
  std::shared_ptr<std::byte> memory_;
  WeightMatrix one_;
};

struct Bench {
  ThreadPool pool{static_cast<int>(setting("JUNTO_BENCH_THREADS", available_cores()))};
  Experts experts{pool};
  std::vector<Matrix<float>> outs;
  std::map<std::pair<Isa, std::string>, double> peaks;

  Bench() {
    pin_workers(pool);
    for (int e = 0; e < kExperts; ++e) outs.emplace_back(kMaxRows, 2048);
  }
  double peak(Isa isa, const std::string& name) {
    const PeakLoop* loop = find_peak(isa, name);
    if (loop == nullptr) return 0;
    double& known = peaks[{isa, name}];
    if (known == 0) known = measure_peak(*loop, pool);
    return known;
  }
};

Bench& bench() {
  static Bench one;
  return one;
}

double median(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

void run_case(benchmark::State& state, const Case& c) {
  Bench& b = bench();
  b.experts.fill(c.type, c.shape);
  const std::vector<float> values = random_values(static_cast<std::size_t>(c.x_rows * c.shape.cols));
  ActivationRows x;
  x.assign({values.data(), c.x_rows, c.shape.cols});
  if (is_quantised(c.type)) x.quantise_all();
  const auto kernels = matmul_kernels(c.isa);
  std::mt19937_64 generator(2);
  std::vector<double> step_s, read_s;
  const std::size_t bytes = b.experts.expert(0).bytes();
  std::vector<std::uint64_t> sums(static_cast<std::size_t>(kExperts) * 4096);
  for (auto _ : state) {
    WeightMatrix chosen[2 * kExperts];
    for (WeightMatrix& w : chosen) {
      w = b.experts.expert(static_cast<std::int64_t>(generator() % static_cast<std::uint64_t>(b.experts.count())));
    }
    const std::int64_t block = matmul_block_rows(chosen[0]), blocks = c.shape.rows / block;
    const double begin = now_s();
    b.pool.for_each_block(kExperts * blocks, [&](std::int64_t task, int) {
      const auto e = static_cast<std::size_t>(task / blocks);
      const std::int64_t first = task % blocks * block;
      matmul_with(kernels, chosen[e], {first, first + block}, x, {}, b.outs[e].view(), {});
    });
    const double between = now_s();
    const std::size_t words = bytes / static_cast<std::size_t>(blocks) / 8 / 8 * 8;
    b.pool.for_each_block(kExperts * blocks, [&](std::int64_t task, int) {
      const auto* from = reinterpret_cast<const std::uint64_t*>(chosen[kExperts + task / blocks].data);
      sums[static_cast<std::size_t>(task)] = sum_words(from + static_cast<std::size_t>(task % blocks) * words, words);
    });
    step_s.push_back(between - begin), read_s.push_back(now_s() - between);
    benchmark::DoNotOptimize(sums.data());
    state.SetIterationTime(step_s.back());
  }
  const double step = median(step_s), read = median(read_s), all = static_cast<double>(bytes) * kExperts;
  const double operations = 2.0 * static_cast<double>(c.shape.rows * c.shape.cols * c.x_rows) * kExperts;
  const double peak = b.peak(c.isa, is_quantised(c.type) ? "mix_q4" : "fma_f32");
  state.counters["GB_s"] = all / step / 1e9;
  state.counters["read_GB_s"] = all / read / 1e9;
  state.counters["Gop_s"] = operations / step / 1e9;
  state.counters["best_Gop_s"] = operations / *std::min_element(step_s.begin(), step_s.end()) / 1e9;
  if (peak > 0) {
    state.counters["mix_Gop_s"] = peak / 1e9;
    state.counters["share"] = std::max(read, operations / peak) / step;
  }
}

void register_cases() {
  for (const BlockFormat& format : block_formats()) {
    if (format.encode == nullptr || unit_layout(format.type) == nullptr) continue;
    for (const Shape shape : kShapes) {
      for (const Isa isa : available_isas()) {
        if (find_kernel(matmul_kernels(isa), format.type) == nullptr) continue;
        for (const std::int64_t rows : {1, 4, 16, 64, 512}) {
          const Case c{format.type, isa, shape, rows};
          const std::string name = std::string(format.name) + "/" + std::string(isa_name(isa)) + "/" +
                                   std::to_string(shape.rows) + "x" + std::to_string(shape.cols) +
                                   "/rows:" + std::to_string(rows);
          benchmark::RegisterBenchmark(name.c_str(), [c](benchmark::State& state) { run_case(state, c); })
              ->UseManualTime()
              ->Unit(benchmark::kMicrosecond);
        }
      }
    }
  }
}

}  // namespace
}  // namespace junto

int main(int count, char** arguments) {
  benchmark::Initialize(&count, arguments);
  if (benchmark::ReportUnrecognizedArguments(count, arguments)) return 2;
  junto::register_cases();
  benchmark::RunSpecifiedBenchmarks();
}
