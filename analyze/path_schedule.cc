#include "analyze/path_schedule.h"

#include <algorithm>
#include <cassert>
#include <functional>
#include <numeric>

#include "base/random.h"

namespace junto {
namespace {

constexpr int kMostAssignments = 30;

/// [tokens, tokens]: cells in which two tokens agree.
std::vector<std::int32_t> similarities(const TokenPaths& paths) {
  const std::int64_t n = paths.tokens();
  std::vector<std::int32_t> out(static_cast<std::size_t>(n * n));
  for (std::int64_t a = 0; a < n; ++a) {
    for (std::int64_t b = 0; b < n; ++b) {
      const auto x = paths.of(a), y = paths.of(b);
      out[static_cast<std::size_t>(a * n + b)] = std::inner_product(
          x.begin(), x.end(), y.begin(), 0, std::plus(), [](std::uint8_t p, std::uint8_t q) { return p == q ? 1 : 0; });
    }
  }
  return out;
}

/// Pairs of token and group, most similar first: each token to the first group with room.
std::vector<int> assign(const std::vector<std::int32_t>& similar, std::int64_t n,
                        std::span<const std::int64_t> medoids) {
  const auto groups = static_cast<std::int64_t>(medoids.size()), room = n / groups;
  const auto of = [&](std::int64_t token, std::int64_t group) {
    return similar[static_cast<std::size_t>(token * n + medoids[static_cast<std::size_t>(group)])];
  };
  std::vector<int> out(static_cast<std::size_t>(n), -1);
  std::vector<std::int64_t> members(medoids.size(), 0);
  std::vector<std::int64_t> left(static_cast<std::size_t>(n));
  std::iota(left.begin(), left.end(), 0);
  while (!left.empty()) {
    // Each token's best group with room; groups then keep the most similar of those that ask.
    std::vector<std::vector<std::int64_t>> asking(medoids.size());
    for (const std::int64_t token : left) {
      std::int64_t best = -1;
      for (std::int64_t g = 0; g < groups; ++g) {
        const bool has_room = members[static_cast<std::size_t>(g)] < room;
        if (has_room && (best < 0 || of(token, g) > of(token, best))) best = g;
      }
      asking[static_cast<std::size_t>(best)].push_back(token);
    }
    left.clear();
    for (std::int64_t g = 0; g < groups; ++g) {
      std::vector<std::int64_t>& tokens = asking[static_cast<std::size_t>(g)];
      std::ranges::stable_sort(tokens, std::greater(), [&](std::int64_t token) { return of(token, g); });
      for (const std::int64_t token : tokens) {
        if (members[static_cast<std::size_t>(g)] == room) {
          left.push_back(token);
          continue;
        }
        out[static_cast<std::size_t>(token)] = static_cast<int>(g);
        ++members[static_cast<std::size_t>(g)];
      }
    }
    std::ranges::sort(left);
  }
  return out;
}

std::int64_t medoid_of(const std::vector<std::int32_t>& similar, std::int64_t n, std::span<const int> group,
                       int wanted) {
  std::int64_t best = -1, most = -1;
  for (std::int64_t a = 0; a < n; ++a) {
    if (group[static_cast<std::size_t>(a)] != wanted) continue;
    std::int64_t sum = 0;
    for (std::int64_t b = 0; b < n; ++b) {
      if (group[static_cast<std::size_t>(b)] == wanted) sum += similar[static_cast<std::size_t>(a * n + b)];
    }
    if (sum > most) best = a, most = sum;
  }
  return best;
}

}  // namespace

std::vector<int> group_by_path(const TokenPaths& paths, int groups, std::uint64_t seed) {
  const std::int64_t n = paths.tokens();
  assert(groups > 0 && n % groups == 0);
  if (n == 0) return {};
  const std::vector<std::int32_t> similar = similarities(paths);
  Random random(seed);
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  for (std::int64_t g = 0; g < groups; ++g) {  // medoids that differ, so no group is empty
    const auto other = g + static_cast<std::int64_t>(random.next() % static_cast<std::uint64_t>(n - g));
    std::swap(order[static_cast<std::size_t>(g)], order[static_cast<std::size_t>(other)]);
  }
  std::vector<std::int64_t> medoids(order.begin(), order.begin() + groups);
  std::vector<int> out;
  for (int round = 0; round < kMostAssignments; ++round) {
    std::vector<int> next = assign(similar, n, medoids);
    if (next == out) break;
    out = std::move(next);
    for (int g = 0; g < groups; ++g) medoids[static_cast<std::size_t>(g)] = medoid_of(similar, n, out, g);
  }
  return out;
}

std::int64_t cells_of_groups(const TokenPaths& paths, std::span<const int> group, int groups) {
  std::int64_t sum = 0;
  std::vector<std::uint8_t> any(static_cast<std::size_t>(paths.cells));
  for (int g = 0; g < groups; ++g) {
    std::ranges::fill(any, 0);
    for (std::int64_t t = 0; t < paths.tokens(); ++t) {
      if (group[static_cast<std::size_t>(t)] != g) continue;
      const auto row = paths.of(t);
      for (std::size_t c = 0; c < any.size(); ++c) any[c] = any[c] | row[c];
    }
    sum += std::accumulate(any.begin(), any.end(), std::int64_t{0});
  }
  return sum;
}

}  // namespace junto
