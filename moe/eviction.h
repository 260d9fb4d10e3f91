// Which resident expert makes room for another one. The policies see what happened and nothing else, so the same ones
// serve the running store and a simulation of it.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "moe/stages.h"

namespace junto {

class ReuseForecast;

enum class Evict : std::uint8_t {
  kLru,        // the one not used for longest
  kLfu,        // the one used least, uses losing half their weight every kHalfLife layer passes
  kLifo,       // the one used last
  kLayer,      // of the layers passed last, which are needed again only a token later, the one used least
  kPredicted,  // the one whose next use is expected farthest away, by chances that are learned (moe/reuse_forecast.h)
  kStatic,     // the one least used in a trace: its hot set stays
  kBelady,     // the one whose next use is farthest: the bound of what a policy can do, only where the future is known
};
inline constexpr std::array kAllEvictions = {Evict::kLru,       Evict::kLfu,    Evict::kLifo,  Evict::kLayer,
                                             Evict::kPredicted, Evict::kStatic, Evict::kBelady};

/// Parses `--evict lru|lfu|lifo|layer|predicted|static`, what a running cache can do. Throws Error naming what is
/// allowed.
Evict parse_evict(std::string_view name);
std::string_view evict_name(Evict policy);

/// What is known of one expert, resident or not: uses of the past count when it comes back.
struct ExpertHistory {
  std::int64_t last_use = -1;  // layer pass, counted over the run; -1: never used
  double weight = 0;           // of its uses, as of last_use
};

/// What some policies are told beforehand. By cell: all layers' experts, layer by layer.
struct Foreknowledge {
  std::vector<double> popularity;               // kStatic
  std::vector<std::vector<std::int64_t>> uses;  // kBelady: layer passes that use it, ascending; the first pass is 1
};

class Eviction {
 public:
  static constexpr double kHalfLife_tokens = 64;

  /// `known` has what the policy needs. rounds [layers], empty: one each.
  Eviction(Evict policy, const std::vector<int>& experts_of_layer, Foreknowledge known = {},
           const std::vector<int>& rounds = {});

  /// A layer begins, or another round of it: later calls are about this pass.
  void enter(ExpertStage stage);
  void use(int layer, int expert);

  /// The cell among `candidates` (not empty) that goes. A cell is cell_of(layer, expert).
  std::int32_t victim(std::span<const std::int32_t> candidates) const;

  std::int32_t cell_of(int layer, int expert) const { return first_cell_[static_cast<std::size_t>(layer)] + expert; }
  std::int32_t cells() const { return static_cast<std::int32_t>(history_.size()); }
  int layer_of(std::int32_t cell) const { return layer_[static_cast<std::size_t>(cell)]; }

 private:
  double weight_now(std::int32_t cell) const;
  /// The next pass that uses a cell; the highest number where none does.
  std::int64_t next_use(std::int32_t cell) const;
  /// Layers from the one that computes now to the next use that the cell can have: 0 for the present layer.
  int distance(std::int32_t cell) const;
  /// ExpertStages until the next use that kPredicted expects.
  double expected_wait(std::int32_t cell) const;
  std::int32_t awaited_longest(std::span<const std::int32_t> candidates) const;

  Evict policy_;
  Foreknowledge known_;
  std::vector<std::int32_t> first_cell_;  // by layer
  std::vector<int> layer_;                // by cell
  std::vector<ExpertHistory> history_;    // by cell
  ExpertStages stages_;
  ExpertStage present_;
  std::shared_ptr<ReuseForecast> forecast_;  // of kPredicted
  std::int64_t pass_ = 0;
};

}  // namespace junto
