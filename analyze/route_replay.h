// A trace in place of a model's routers: feed-forward layers take the experts and weights of the trace's tokens, one
// token a row, from its first to its last and again.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "analyze/route_trace.h"
#include "model/config.h"
#include "model/hooks.h"

namespace junto {

class RouteReplay {
 public:
  /// The trace's feed-forward layers must be the model's: as many, each with its number of experts and rounds;
  /// attention experts route as they are. Throws Error naming `where` and what differs.
  RouteReplay(RouteTrace trace, const ModelConfig& config, std::string_view where);
  RouteReplay(const RouteReplay&) = delete;
  RouteReplay& operator=(const RouteReplay&) = delete;

  /// Hooks that edit plans; they point to this object.
  Hooks hooks();

  const RouteTrace& trace() const { return trace_; }
  /// The token whose experts the next row takes.
  std::int64_t next_token() const { return (first_ + rows_) % trace_.tokens(); }

 private:
  void replace(int block, bool mixer, RoutePlan& plan);

  RouteTrace trace_;
  std::vector<int> layer_of_block_;  // index into trace_.layers of its first round; -1: not routed
  std::vector<int> rounds_;          // [blocks]
  std::vector<int> round_;           // [blocks], the next one
  int first_block_ = -1;
  std::int64_t first_ = 0;  // token of the present call's first row
  std::int64_t rows_ = 0;   // of the present call
};

}  // namespace junto
