#include "train/nn/balanced_assignment.h"

#include <ATen/ATen.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace junto {
namespace {

constexpr double kNotWanted = -1e9;  // below all finite scores that a router gives
constexpr double kLonger = 1e-12;    // less is rounding, which must not lead in circles

/// Units come one after another; each takes the way that costs least: to an expert, from there another unit to another
/// expert, until one has room. Experts are few, so the ways between them are kept as a table [E, E].
class Assignment {
 public:
  Assignment(const double* scores, std::int64_t units, std::int64_t experts)
      : scores_(scores),
        experts_(experts),
        room_((units + experts - 1) / experts),
        expert_of_(static_cast<std::size_t>(units), -1),
        units_of_(static_cast<std::size_t>(experts)),
        moves_(static_cast<std::size_t>(experts * experts), Move{}) {
    for (std::int64_t unit = 0; unit < units; ++unit) insert(unit);
  }
  const std::vector<std::int64_t>& expert_of() const { return expert_of_; }

 private:
  struct Move {
    double cost = std::numeric_limits<double>::infinity();
    std::int64_t unit = -1;  // that changes its expert
  };

  double score(std::int64_t unit, std::int64_t expert) const { return scores_[unit * experts_ + expert]; }
  Move& move(std::int64_t from, std::int64_t to) { return moves_[static_cast<std::size_t>(from * experts_ + to)]; }

  void insert(std::int64_t unit) {
    std::vector<double> cost(static_cast<std::size_t>(experts_));
    std::vector<std::int64_t> before(static_cast<std::size_t>(experts_), -1);
    for (std::int64_t e = 0; e < experts_; ++e) cost[e] = -score(unit, e);
    for (bool shorter = true; shorter;) {  // Bellman and Ford; what is assigned is optimal, so there are no circles
      shorter = false;
      for (std::int64_t from = 0; from < experts_; ++from) {
        for (std::int64_t to = 0; to < experts_; ++to) {
          const double by_move = cost[from] + move(from, to).cost;
          if (by_move < cost[to] - kLonger) cost[to] = by_move, before[to] = from, shorter = true;
        }
      }
    }
    std::int64_t last = -1;
    for (std::int64_t e = 0; e < experts_; ++e) {
      const bool has_room = static_cast<std::int64_t>(units_of_[e].size()) < room_;
      if (has_room && (last < 0 || cost[e] < cost[last])) last = e;
    }
    std::vector<std::int64_t> changed = {last};
    while (before[last] >= 0) {
      const std::int64_t from = before[last], mover = move(from, last).unit;
      std::erase(units_of_[from], mover);
      take(mover, last);
      changed.push_back(from);
      last = from;
    }
    take(unit, last);
    for (const std::int64_t expert : changed) count_moves(expert);
  }

  void take(std::int64_t unit, std::int64_t expert) {
    expert_of_[unit] = expert;
    units_of_[expert].push_back(unit);
  }

  void count_moves(std::int64_t from) {
    for (std::int64_t to = 0; to < experts_; ++to) {
      Move best;
      for (const std::int64_t unit : units_of_[from]) {
        const double cost = score(unit, from) - score(unit, to);
        if (to != from && cost < best.cost) best = {cost, unit};
      }
      move(from, to) = best;
    }
  }

  const double* scores_;
  std::int64_t experts_, room_;
  std::vector<std::int64_t> expert_of_;              // [units]
  std::vector<std::vector<std::int64_t>> units_of_;  // [E]
  std::vector<Move> moves_;                          // [E, E]
};

}  // namespace

RoutePlan balanced_assignment(const at::Tensor& scores) {
  const at::NoGradGuard guard;
  at::Tensor values = scores.detach().to(at::kDouble).contiguous();
  const at::Tensor wanted = at::isfinite(values);
  values = at::where(wanted, values, at::full({}, kNotWanted, values.options()));
  RoutePlan plan;
  const std::int64_t units = values.size(0), experts = values.size(1);
  if (units == 0) return plan;
  const Assignment assignment(values.data_ptr<double>(), units, experts);
  for (std::int64_t unit = 0; unit < units; ++unit) {
    const std::int64_t expert = assignment.expert_of()[unit];
    if (wanted.data_ptr<bool>()[unit * experts + expert]) {
      plan.expert.push_back(static_cast<std::int32_t>(expert));
      plan.weight.push_back(1.0f);
    }
    plan.offset.push_back(static_cast<std::int32_t>(plan.expert.size()));
  }
  return plan;
}

}  // namespace junto
