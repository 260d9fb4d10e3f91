// Which experts of a model a process holds, by the engine's Placement, and how several processes are laid out.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "moe/dispatch.h"
#include "train/parallel/exchange.h"

namespace junto {

/// `placement` of a recipe: {"data": 2, "experts": 2}. Ranks are `data` groups of `experts` ranks; each group holds
/// every expert once. All ranks have a part of the batch, whatever the grid. `experts` 1: every rank holds all experts.
struct PlacementGrid {
  std::int64_t data = 0;  // 0: the number of processes / experts
  std::int64_t experts = 1;
  bool operator==(const PlacementGrid&) const = default;
};
PlacementGrid parse_placement_grid(const Json& json, std::string_view where, std::string_view path);

/// With `data` as it is for so many ranks. Throws Error naming `field` where data times experts is not `ranks`.
PlacementGrid fitted(PlacementGrid grid, int ranks, std::string_view field);

/// Rank x of a group holds the experts whose x * E / ways is its own: a stretch of them.
Placement placement_of(const PlacementGrid& grid, int experts);

/// Rows of one sender: the rank that computes expert `expert` for rank `sender`. Itself where it holds it, otherwise
/// senders are spread over the expert's ranks in order, so that those of a grid stay in their group.
int server_of(const Placement& placement, int expert, int sender);

/// The experts of a model that are parted among the ranks of `exchange`. Any placement will do.
struct ExpertShare {
  Placement placement;                          // of the experts with weights
  Exchange* exchange = nullptr;                 // must outlive it
  std::vector<std::int32_t> own;                // held by this rank, ascending
  Placement served;                             // expert -> the one rank that computes this rank's rows
  std::vector<std::vector<std::int32_t>> held;  // [ranks]: `own` of each

  /// Whether a rank holds not all of them.
  bool parted() const;
  int experts() const { return static_cast<int>(placement.ranks_of_expert.size()); }
};
/// Throws Error on a placement that is none, or is of another number of ranks.
std::shared_ptr<const ExpertShare> make_expert_share(Placement placement, Exchange& exchange);

/// Every expert on every rank.
std::shared_ptr<const ExpertShare> make_whole_share(int experts, Exchange& exchange);

}  // namespace junto
