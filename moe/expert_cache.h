// Experts that do not all fit into memory: they stand in a file, and as many as the budget holds in slots. A layer asks
// for the experts that its rows chose; those in slots compute at once, the others as they arrive.
//
// Lossless: an expert in a slot has the bytes that a resident one has, so results are the same bits at any budget and
// under any eviction policy.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/block_reader.h"
#include "moe/eviction.h"
#include "moe/expert_store.h"

namespace junto {

struct ExpertCacheOptions {
  std::int64_t budget_bytes = 0;  // of slots
  Evict evict = Evict::kLfu;
  Foreknowledge known = {};  // of `evict`
  int readers = 4;           // reads in flight
  /// The experts' bytes are mapped: they are copied from there when they are first asked for instead of read from
  /// files, so that a model starts before all of it is in the kernels' layout.
  bool mapped = false;
};

/// What streaming has cost since the start.
struct ExpertCacheCounters {
  std::int64_t hits = 0;        // experts that were in a slot when their layer asked
  std::int64_t misses = 0;      // experts that were read then
  std::int64_t bytes_read = 0;  // from the file
  double stall_s = 0;           // with nothing to compute, waiting for the file

  bool operator==(const ExpertCacheCounters&) const = default;
};

/// Where the bytes of a matrix stand; `stored` tells its type and shape.
struct MatrixPlace {
  WeightMatrix stored;
  std::size_t file = 0;  // index of its reader
  std::uint64_t offset = 0;
};

/// An expert outside of memory. `weights` are what they are but for the bytes of the matrices, which `places` name
/// (gate where there is one, up, down).
struct ExpertPlace {
  const ExpertWeights* weights = nullptr;
  std::vector<MatrixPlace> places;
};

class ExpertCache {
 public:
  using Compute = std::function<void(std::span<const std::int32_t> experts)>;

  /// experts [layers][E]; those without matrices have no places and are never asked for. Throws Error naming `where`
  /// where the budget does not hold one expert.
  ExpertCache(std::vector<std::vector<ExpertPlace>> experts, std::vector<std::unique_ptr<BlockReader>> readers,
              const ExpertCacheOptions& options, std::string where);
  ~ExpertCache();

  /// Calls compute(some of `experts`) until all were computed, each once; during a call expert() gives those it names.
  /// `experts` ascending. One layer at a time: other callers wait. Throws what reading threw; the cache stays usable.
  void run(int layer, std::span<const std::int32_t> experts, const Compute& compute);

  /// An expert that compute() was called with, until it returns.
  const ExpertWeights* expert(int layer, std::int32_t expert) const;

  int slots() const { return static_cast<int>(slots_.size()); }
  std::size_t slot_bytes() const { return slot_bytes_; }
  int experts() const { return experts_; }
  Evict evict() const { return options_.evict; }
  bool mapped() const { return options_.mapped; }
  ExpertCacheCounters counters() const;
  void reset_counters();

 private:
  enum class State : std::uint8_t { kEmpty, kLoading, kReady, kFailed };
  struct Slot {
    State state = State::kEmpty;
    std::int32_t cell = -1;
    bool wanted = false;    // by the layer that runs
    bool failed = false;    // some matrix could not be read
    int matrices_left = 0;  // while loading
    ExpertWeights weights;  // points into the slot's memory
    std::byte* data = nullptr;
  };
  struct Job {
    std::int32_t slot = -1;
    std::size_t matrix = 0;
    std::byte* to = nullptr;
  };

  void load(std::int32_t slot, std::int32_t cell);
  std::int32_t free_slot();
  void start_loads(int layer, std::vector<std::int32_t>& missing);
  void take_ready(int layer);
  void settle(std::unique_lock<std::mutex>& lock);
  void read_jobs();
  void read_matrix(const MatrixPlace& place, std::span<std::byte> staging, std::byte* to);

  ExpertCacheOptions options_;
  std::string where_;
  std::vector<ExpertPlace> places_;  // by cell
  std::vector<std::unique_ptr<BlockReader>> readers_;
  Eviction eviction_;
  int experts_ = 0;
  std::size_t slot_bytes_ = 0;
  std::size_t largest_matrix_ = 0;
  std::shared_ptr<std::byte> memory_;
  std::vector<Slot> slots_;
  std::vector<std::int32_t> slot_of_cell_;  // -1: none

  std::mutex run_mutex_;      // one layer at a time
  mutable std::mutex mutex_;  // slots' states, jobs, counters
  std::condition_variable has_jobs_, has_news_;
  std::vector<Job> jobs_;  // first job at next_job_
  std::size_t next_job_ = 0;
  std::exception_ptr error_;
  bool stop_ = false;
  ExpertCacheCounters counters_;
  std::vector<std::int32_t> missing_, waiting_, ready_, candidates_;  // of the layer that runs
  std::vector<std::thread> threads_;
};

}  // namespace junto
