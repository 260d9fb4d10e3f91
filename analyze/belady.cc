#include "analyze/belady.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <utility>

#include "moe/eviction.h"

namespace junto {
namespace {

/// The passes that use each cell: the first ask is pass 1.
Foreknowledge uses_of(std::span<const ExpertAsk> asks, const std::vector<int>& experts_of_layer) {
  const Eviction cells(Evict::kLru, experts_of_layer);
  Foreknowledge known;
  known.uses.resize(static_cast<std::size_t>(cells.cells()));
  for (std::size_t i = 0; i < asks.size(); ++i) {
    for (const std::int32_t e : asks[i].experts) {
      known.uses[static_cast<std::size_t>(cells.cell_of(asks[i].layer, e))].push_back(static_cast<std::int64_t>(i) + 1);
    }
  }
  return known;
}

}  // namespace

double belady_hit_ratio(std::span<const ExpertAsk> asks, std::size_t first, std::vector<int> experts_of_layer,
                        int slots) {
  Foreknowledge known = uses_of(asks, experts_of_layer);
  Eviction eviction(Evict::kBelady, std::move(experts_of_layer), std::move(known));
  std::vector<std::int32_t> in, wanted, candidates;  // cells
  std::int64_t hits = 0, asked = 0;
  for (std::size_t i = 0; i < asks.size(); ++i) {
    eviction.enter(asks[i].layer);
    wanted.clear();
    for (const std::int32_t e : asks[i].experts) wanted.push_back(eviction.cell_of(asks[i].layer, e));
    const auto is_in = [&](std::int32_t cell) { return std::ranges::find(in, cell) != in.end(); };
    const auto there = std::ranges::count_if(wanted, is_in);
    if (i >= first) hits += there, asked += std::ssize(wanted);
    std::erase_if(wanted, is_in);
    for (const std::int32_t cell : wanted) {
      if (std::ssize(in) >= slots) {
        candidates.clear();
        const auto of_this_ask = [&](std::int32_t other) {
          return eviction.layer_of(other) == asks[i].layer &&
                 std::ranges::binary_search(asks[i].experts, other - eviction.cell_of(asks[i].layer, 0));
        };
        std::ranges::remove_copy_if(in, std::back_inserter(candidates), of_this_ask);
        if (candidates.empty()) candidates = in;  // slots are fewer than the layer's experts: those have computed
        std::erase(in, eviction.victim(candidates));
      }
      in.push_back(cell);
    }
  }
  return asked > 0 ? static_cast<double>(hits) / static_cast<double>(asked) : 0;
}

}  // namespace junto
