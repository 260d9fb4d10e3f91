#include "compress/carve_grouping.h"

#include <algorithm>
#include <queue>
#include <tuple>

namespace junto {
namespace {

struct Choice {
  float regret = 0;  // what the second best group with room would lose
  std::int64_t thing = 0;
  int group = 0;  // the best with room

  bool operator<(const Choice& other) const {
    return std::tuple(regret, other.thing) < std::tuple(other.regret, thing);
  }
};

Choice best_with_room(MatrixView<const float> gain, const std::vector<std::int64_t>& room, std::int64_t thing) {
  int best = -1, second = -1;
  for (int g = 0; g < static_cast<int>(room.size()); ++g) {
    if (room[g] == 0) continue;
    if (best < 0 || gain.at(thing, g) > gain.at(thing, best)) {
      second = best, best = g;
    } else if (second < 0 || gain.at(thing, g) > gain.at(thing, second)) {
      second = g;
    }
  }
  return {second < 0 ? 0.0f : gain.at(thing, best) - gain.at(thing, second), thing, best};
}

std::vector<int> assign_greedily(MatrixView<const float> gain, std::vector<std::int64_t>& room) {
  std::priority_queue<Choice> queue;
  for (std::int64_t thing = 0; thing < gain.rows; ++thing) queue.push(best_with_room(gain, room, thing));
  std::vector<int> group(static_cast<std::size_t>(gain.rows), -1);
  while (!queue.empty()) {
    const Choice choice = queue.top();
    queue.pop();
    if (room[choice.group] == 0) {  // filled meanwhile
      queue.push(best_with_room(gain, room, choice.thing));
      continue;
    }
    --room[choice.group];
    group[choice.thing] = choice.group;
  }
  return group;
}

}  // namespace

std::vector<int> assign_balanced(MatrixView<const float> gain, std::vector<std::int64_t> room, int rounds) {
  std::vector<int> group = assign_greedily(gain, room);
  for (bool changed = true; changed && rounds > 0; --rounds) {
    changed = false;
    for (std::int64_t a = 0; a < gain.rows; ++a) {
      for (std::int64_t b = a + 1; b < gain.rows; ++b) {
        const int ga = group[a], gb = group[b];
        if (ga == gb) continue;
        const float now = gain.at(a, ga) + gain.at(b, gb), then = gain.at(a, gb) + gain.at(b, ga);
        if (then <= now + 1e-6f * (then < 0 ? -then : then)) continue;
        std::swap(group[a], group[b]);
        changed = true;
      }
    }
  }
  return group;
}

}  // namespace junto
