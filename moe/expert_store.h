// The expert store: where expert weights live. Experts are addressed by (layer, expert), may differ in width, stored
// type and kind, are read-only and versioned; one can be replaced while others compute.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "moe/expert_kind.h"
#include "moe/linear.h"

namespace junto {

/// One expert. x [D] -> out [D]; kFfn: down(act(gate(x), up(x))), without gate: down(act(up(x))).
struct ExpertWeights {
  ExpertKind kind = ExpertKind::kFfn;
  Activation activation;
  Linear gate;                  // [width, D]; empty where the activation is not gated
  Linear up;                    // [width, D]
  Linear down;                  // [D, width]
  std::vector<float> constant;  // [D], of kConstant
  // [2, D] or empty, of kConstant: with (a, b) = softmax of its product with x the output is a * x + b * constant
  // (MoE++, arXiv 2410.07348, eq. 5); without it the constant alone.
  std::vector<float> constant_mix;
  std::uint64_t version = 0;  // set by the store: 0 as loaded, then the version of the table that brought it

  std::int64_t width() const { return up.weights.rows; }
  /// Bytes that computing this expert reads, however many rows it has.
  std::size_t bytes() const {
    return gate.bytes() + up.bytes() + down.bytes() + (constant.size() + constant_mix.size()) * sizeof(float);
  }
  /// Multiplications and additions of matrices for one row, overlays left out; 0 of free experts.
  std::int64_t flops_per_row() const;
};

/// Throws Error naming `where` where matrices do not fit each other, the kind or `hidden_size` (D).
void check_expert(const ExpertWeights& expert, std::int64_t hidden_size, std::string_view where);

/// The experts of one layer: what a batch computes with. Empty for dense layers.
struct ExpertLayer {
  std::vector<std::shared_ptr<const ExpertWeights>> owners;  // [E]
  std::vector<const ExpertWeights*> experts;                 // [E], the same
};

/// All experts of a model at one moment. Immutable: a batch takes it once and computes with it to its end.
struct ExpertTable {
  std::uint64_t version = 0;
  std::vector<ExpertLayer> layers;  // [layers]
};

/// What has been computed: the honest cost of routing.
struct ExpertUse {
  std::int64_t rows = 0;          // (unit, expert) pairs of experts with weights
  std::int64_t free_rows = 0;     // pairs of zero, copy and constant experts
  std::int64_t experts_read = 0;  // experts whose weights were read, summed over calls
  std::int64_t bytes_read = 0;    // bytes of those
  std::int64_t flops = 0;

  ExpertUse& operator+=(const ExpertUse& other);
  bool operator==(const ExpertUse&) const = default;
};

/// Experts that stay in memory (or in a mapped file). All calls may come from any thread.
class ExpertStore {
 public:
  /// layers [layers][experts]; hidden_size is D of every layer. Throws Error as check_expert() does.
  ExpertStore(std::vector<std::vector<ExpertWeights>> layers, std::int64_t hidden_size, std::string_view where);

  std::shared_ptr<const ExpertTable> snapshot() const;

  /// Puts `weights` in the place of one expert: snapshots taken from now on have it, those taken before keep the old
  /// one. Returns the new table's version. Throws Error where the expert does not exist or does not fit.
  std::uint64_t replace(int layer, int expert, ExpertWeights weights, std::string_view where);

  /// Adds to the counters of a layer; use() sums them since the start or reset_use().
  void count(int layer, const ExpertUse& use);
  ExpertUse use(int layer) const;
  ExpertUse use() const;
  void reset_use();

 private:
  std::int64_t hidden_size_ = 0;
  mutable std::mutex table_mutex_;  // held to copy or swap the pointer only
  std::mutex replace_mutex_;        // one replacement at a time
  std::shared_ptr<const ExpertTable> table_;
  mutable std::mutex use_mutex_;
  std::vector<ExpertUse> use_;  // [layers]
};

}  // namespace junto
