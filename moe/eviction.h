// Which resident expert makes room for another one. The policies see what happened and nothing else, so the same ones
// serve the running store and a simulation of it.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace junto {

enum class Evict : std::uint8_t {
  kLru,    // the one not used for longest
  kLfu,    // the one used least, uses losing half their weight every kHalfLife layer passes
  kLifo,   // the one used last
  kLayer,  // of the layers passed last, which are needed again only a token later, the one used least
};

/// Parses `--evict lru|lfu|lifo|layer`. Throws Error naming what is allowed.
Evict parse_evict(std::string_view name);
std::string_view evict_name(Evict policy);

/// What is known of one expert, resident or not: uses of the past count when it comes back.
struct ExpertHistory {
  std::int64_t last_use = -1;  // layer pass, counted over the run; -1: never used
  double weight = 0;           // of its uses, as of last_use
};

class Eviction {
 public:
  static constexpr double kHalfLife_tokens = 64;

  Eviction(Evict policy, std::vector<int> experts_of_layer);

  /// A layer begins: later calls are about this pass.
  void enter(int layer);
  void use(int layer, int expert);

  /// The cell among `candidates` (not empty) that goes. A cell is cell_of(layer, expert).
  std::int32_t victim(std::span<const std::int32_t> candidates) const;

  std::int32_t cell_of(int layer, int expert) const { return first_cell_[static_cast<std::size_t>(layer)] + expert; }
  std::int32_t cells() const { return static_cast<std::int32_t>(history_.size()); }
  int layer_of(std::int32_t cell) const { return layer_[static_cast<std::size_t>(cell)]; }

 private:
  double weight_now(std::int32_t cell) const;
  /// Layers from the one that computes now to the next use that the cell can have: 0 for the present layer.
  int distance(std::int32_t cell) const;

  Evict policy_;
  std::vector<std::int32_t> first_cell_;  // by layer
  std::vector<int> layer_;                // by cell
  std::vector<ExpertHistory> history_;    // by cell
  int routed_layers_ = 0;
  int present_layer_ = 0;
  std::int64_t pass_ = 0;
};

}  // namespace junto
