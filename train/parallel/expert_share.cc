#include "train/parallel/expert_share.h"

#include <algorithm>
#include <string>

#include "analyze/device_step.h"
#include "base/error.h"
#include "moe/json_fields.h"

namespace junto {

PlacementGrid parse_placement_grid(const Json& json, std::string_view where, std::string_view path) {
  JsonFields fields(json, where, path);
  PlacementGrid grid;
  constexpr std::int64_t kMostRanks = 1 << 16;
  grid.data = fields.integer("data", 1, kMostRanks, "Groups that hold every expert; without: processes / experts")
                  .value_or(grid.data);
  fields.read("experts", 1, kMostRanks, grid.experts, "Processes that share the experts of a layer; 1: each has all");
  fields.finish();
  return grid;
}

PlacementGrid fitted(PlacementGrid grid, int ranks, std::string_view field) {
  const std::string processes = std::to_string(ranks) + ", the number of processes (mpirun -n)";
  const std::string experts = std::to_string(grid.experts);
  if (grid.data == 0) {
    if (ranks % grid.experts != 0)
      fail("recipe", std::string(field) + ".experts is " + experts + ", expected a divisor of " + processes);
    grid.data = ranks / grid.experts;
  }
  if (grid.data * grid.experts != ranks) {
    fail("recipe", std::string(field) + " is data " + std::to_string(grid.data) + " times experts " + experts +
                       ", expected a product of " + processes);
  }
  return grid;
}

Placement placement_of(const PlacementGrid& grid, int experts) {
  Placement out = placement_in_stretches(experts, static_cast<int>(grid.experts));
  out.ranks = static_cast<int>(grid.data * grid.experts);
  for (std::vector<std::int32_t>& ranks : out.ranks_of_expert) {
    for (std::int64_t group = 1; group < grid.data; ++group)
      ranks.push_back(static_cast<std::int32_t>(group * grid.experts) + ranks.front());
  }
  return out;
}

int server_of(const Placement& placement, int expert, int sender) {
  const std::vector<std::int32_t>& ranks = placement.ranks_of_expert[static_cast<std::size_t>(expert)];
  if (std::find(ranks.begin(), ranks.end(), sender) != ranks.end()) return sender;
  const auto spread = static_cast<std::size_t>(sender) * ranks.size() / static_cast<std::size_t>(placement.ranks);
  return ranks[spread];
}

bool ExpertShare::parted() const {
  return std::any_of(held.begin(), held.end(), [&](const auto& of_rank) { return std::ssize(of_rank) < experts(); });
}

std::shared_ptr<const ExpertShare> make_whole_share(int experts, Exchange& exchange) {
  return make_expert_share(placement_of({.data = exchange.ranks(), .experts = 1}, experts), exchange);
}

std::shared_ptr<const ExpertShare> make_expert_share(Placement placement, Exchange& exchange) {
  const int experts = static_cast<int>(placement.ranks_of_expert.size());
  check_placement(placement, experts);
  if (placement.ranks != exchange.ranks()) {
    fail("placement",
         "is of " + std::to_string(placement.ranks) + " ranks, expected " + std::to_string(exchange.ranks()));
  }
  auto share = std::make_shared<ExpertShare>();
  share->exchange = &exchange;
  share->served = {.version = placement.version, .ranks = placement.ranks, .ranks_of_expert = {}};
  share->held.resize(static_cast<std::size_t>(placement.ranks));
  for (std::int32_t e = 0; e < experts; ++e) {
    share->served.ranks_of_expert.push_back({server_of(placement, e, exchange.rank())});
    for (const std::int32_t rank : placement.ranks_of_expert[static_cast<std::size_t>(e)])
      share->held[static_cast<std::size_t>(rank)].push_back(e);
  }
  share->own = share->held[static_cast<std::size_t>(exchange.rank())];
  share->placement = std::move(placement);
  return share;
}

}  // namespace junto
