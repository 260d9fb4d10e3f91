// ExpertFlow's token scheduler (He et al., arXiv 2410.17954): tokens that are decoded together are regrouped so that
// those of a batch ask for the same experts.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace junto {

/// What tokens ask for, of all layers: [tokens, cells], 1 where the token asks for the expert.
struct TokenPaths {
  std::int64_t cells = 0;
  std::vector<std::uint8_t> asked;

  std::int64_t tokens() const { return cells > 0 ? std::ssize(asked) / cells : 0; }
  std::span<const std::uint8_t> of(std::int64_t token) const {
    return std::span(asked).subspan(static_cast<std::size_t>(token * cells), static_cast<std::size_t>(cells));
  }
};

/// The group, 0..groups-1, of each token; groups are of equal size, tokens() must be a multiple of their number.
/// Balanced k-medoids by the paper: random medoids; every token goes to the most similar one (cells in which they
/// agree), a group that is too large keeps its most similar tokens and the others go to groups with room; then a
/// group's medoid is the member with the largest similarity to all others; until nothing changes, or 30 times. The same
/// seed gives the same groups; ties go to the lowest number.
std::vector<int> group_by_path(const TokenPaths& paths, int groups, std::uint64_t seed);

/// Different cells that the tokens of each group ask for, summed over groups: what the groups, run one after the other,
/// have to have in memory.
std::int64_t cells_of_groups(const TokenPaths& paths, std::span<const int> group, int groups);

}  // namespace junto
