// Disk and cores of a machine that need not exist, in simulated time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "moe/read_priority.h"

namespace junto {

struct SimulatedMachine {
  double disk_bytes_per_s = 1e9;
  double latency_s = 0;    // of a read, before its first byte
  double dense_s = 0;      // a pass: all but the routed experts
  double expert_s = 0;     // a routed expert, computed by all cores
  double arrive_s = 0;     // core time for bringing an expert that was read into the kernels' layout
  int reads = 24;          // matrices at a time
  int prefetch_reads = 8;  // of them, at most so many that were guessed
  int matrices = 3;        // of an expert
  int cores = 2;
};

/// A read waits latency_s, then for the disk, which serves one after the other, then takes a core for its part of
/// arrive_s, in which it shares the cores with what computes. Reads begin in the order in which they were submitted,
/// those that are waited for before those that were guessed.
class MachineModel {
 public:
  /// Called whenever a matrix of the slot's expert has come.
  using Arrived = std::function<void(std::int32_t slot)>;

  MachineModel(const SimulatedMachine& machine, double matrix_bytes, Arrived arrived)
      : machine_(machine), matrix_bytes_(matrix_bytes), arrived_(std::move(arrived)) {}

  double now_s() const { return now_s_; }
  /// All matrices of the slot's expert.
  void submit(std::int32_t slot, Priority priority);
  /// As ExpertReads has them.
  void hurry(std::int32_t slot);
  int cancel(std::int32_t slot);
  /// Computes `seconds` of all cores.
  void compute(double seconds);
  /// Until the next event, with nothing to compute. Something is under way.
  void wait();

 private:
  struct Read {
    std::int32_t slot = -1;
    Priority priority = Priority::kDemand;
    int stage = 0;    // 0: latency, 1: disk, 2: cores
    double left = 0;  // seconds, bytes, core seconds
  };

  void start_reads();
  double advance(double left_s, bool computing);
  void next_stage(Read& read);

  SimulatedMachine machine_;
  double matrix_bytes_;
  Arrived arrived_;
  double now_s_ = 0;
  std::vector<std::int32_t> demand_, prefetch_;  // slots, one entry a matrix; the first demand at next_demand_
  std::size_t next_demand_ = 0;
  std::vector<Read> reads_;             // under way
  std::vector<std::int32_t> arrivals_;  // of one event
};

}  // namespace junto
