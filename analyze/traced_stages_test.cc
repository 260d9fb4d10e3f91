#include "analyze/traced_stages.h"

#include <gtest/gtest.h>

#include "analyze/test_traces.h"

namespace junto {
namespace {

TEST(TracedStages, RoundsOfALayerAreStagesWithTheSameExperts) {
  RouteTrace trace = trace_of_ids(4, {{{0}, {1}}, {{3, 1}, {}}, {{2}, {2}}, {{1}, {0}}});
  trace.layers[0].mixer = true;  // attention experts are never streamed
  trace.layers[1].layer = trace.layers[2].layer = 7;
  trace.layers[2].round = 1;
  const TracedStages found = stages_of(trace);
  EXPECT_EQ(found.layer, (std::vector<int>{0, 0, 1}));
  EXPECT_EQ(found.experts, (std::vector<int>{4, 4}));
  EXPECT_EQ(found.rounds, (std::vector<int>{2, 1}));
  EXPECT_EQ(found.stages().stage(1), ExpertStage(0, 1));
  EXPECT_EQ(found.routers[1]->name(), "layer 7, round 1");

  const PastRoutes past = past_routes_of(trace);
  EXPECT_EQ(past.experts, (std::vector<int>{4, 4, 4}));
  EXPECT_EQ(past.asked, (std::vector<std::vector<std::int32_t>>{{1, 3}, {2}, {1}, {}, {2}, {0}}));
  EXPECT_EQ(past.tokens(), 2);
}

}  // namespace
}  // namespace junto
