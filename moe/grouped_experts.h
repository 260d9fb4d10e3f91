// The expert computation of one MoE layer: all experts that a plan names, over their groups of rows, in a few parallel
// regions. Weights of one expert are read once however many rows chose it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/matmul.h"
#include "moe/dispatch.h"
#include "moe/expert_store.h"
#include "moe/route_plan.h"
#include "moe/router_spec.h"
#include "tensor/view.h"

namespace junto {

/// Buffers of run_experts(), kept from call to call so that it does not allocate in steady state.
struct ExpertScratch {
  static constexpr std::int64_t kHiddenBytes = std::int64_t{8} << 20;
  static constexpr std::int64_t kAllHidden = INT64_MAX;
  static constexpr std::int64_t kLeastRows = 256;  // fewer would read weights from memory once more for each part
  /// Rows of all experts of one width; unequal widths have buffers of their own.
  struct Hidden {
    std::int64_t width = 0;
    std::int64_t rows = 0;
    bool quantise = false;  // some expert's down matrix takes Q8
    bool in_rows = false;   // and reads that form of the rows: those by column make one of their own
    Matrix<float> gate;     // [rows, width]
    Matrix<float> hidden;   // [rows, width]: up, then the activation's result
    ActivationRows inputs;  // shows hidden
  };
  /// One expert of this part and its group of rows, or as much of it as one part takes.
  struct Job {
    std::int32_t id = 0;
    const ExpertWeights* expert = nullptr;
    std::span<const std::int32_t> slots, units;
    std::int64_t first_place = 0;  // where the group begins in the groups
    std::size_t hidden = 0;        // index of its Hidden
    std::int64_t first_row = 0;    // where its rows begin there
    bool whole = false;            // small: one task computes all of it
    OverlayScratch gate, up, down;
  };
  /// What one thread does at a time: rows [row_begin, row_end) of a job, outputs [begin, end).
  struct Task {
    std::int32_t job = 0;
    std::int64_t row_begin = 0, row_end = 0;
    std::int64_t begin = 0, end = 0;
  };
  std::vector<Job> jobs;  // the first job_count are of this part: see active_jobs()
  std::size_t job_count = 0;
  std::vector<Hidden> hidden;  // the first hidden_count are of this part
  std::size_t hidden_count = 0;
  std::vector<Task> tasks;
  std::vector<std::int64_t> piece_begin;  // tasks that are claimed together begin here; empty: each alone
  std::vector<std::int32_t> piece_order;  // in which pieces are handed out; empty: as they stand
  std::vector<std::int32_t> row_ids;      // 0, 1, 2...
  // Hidden rows of so many bytes are made at a time, but of least_rows rows at least: many rows go through the experts
  // in several parts, whose hidden rows take turns in one memory.
  std::int64_t hidden_bytes = kHiddenBytes;
  std::int64_t least_rows = kLeastRows;
  Matrix<float> weighted;          // [places, D]: weight * input, WeightOn::kInput
  ActivationRows weighted_inputs;  // shows it

  /// The experts of the last part in ascending order, free ones included (those have no Hidden). With
  /// `hidden_bytes` kAllHidden they are those of the last call.
  std::span<const Job> active_jobs() const { return std::span(jobs).first(job_count); }
};

/// Bytes that the hidden rows of experts of this width take of an ExpertScratch for a call of `rows` (row, expert)
/// pairs, Q8 form included: no more than hidden_bytes or least_rows ask for.
std::int64_t hidden_scratch_bytes(std::int64_t width, std::int64_t rows);

/// Gives hidden rows the form in which an expert's down matrix reads them.
void quantise_for(const Linear& down, ActivationType activations, ActivationRows& rows);

/// slot_output[s, :] = expert of slot s applied to x[unit of s], for all slots of `groups` (rank-local slots where the
/// groups were made for one rank; other rows are left alone). Weights are not applied here, but for WeightOn::kInput,
/// where the plan's weight multiplies the input.
///
/// x [units, D] must have its Q8 form where `activations` is kQ8 and an expert is quantised. experts [E] may hold null
/// for experts without slots. The bits of a row depend on its input, its weight and its expert alone.
ExpertUse run_experts(std::span<const ExpertWeights* const> experts, const RoutePlan& plan, const ExpertGroups& groups,
                      WeightOn weight_on, ActivationType activations, const ActivationRows& x, ThreadPool& pool,
                      ExpertScratch& scratch, MatrixView<float> slot_output);

}  // namespace junto
