#include "analyze/route_recorder.h"

#include <gtest/gtest.h>

#include <vector>

namespace junto {
namespace {

TEST(RouteRecorder, JoinsTheCallsOfASequence) {
  ModelConfig config;
  config.blocks.resize(2);
  config.blocks[1].layer = 7;
  RouteRecorder recorder(config);
  const Hooks hooks = recorder.hooks();
  EXPECT_TRUE(hooks.observes(Point::kPlan));
  RoutePlan plan;
  plan.offset = {0, 2, 2, 3};
  plan.expert = {4, 1, 3};
  plan.weight = {0.75f, 0.25f, 1.0f};
  Observation seen;
  seen.point = Point::kPlan;
  seen.block = 1;
  seen.plan = &plan;
  hooks.observe(seen);
  hooks.observe(seen);
  seen.mixer = true;
  hooks.observe(seen);
  const auto blocks = recorder.blocks();
  ASSERT_EQ(blocks.size(), 2u);
  EXPECT_TRUE(blocks[0]->mixer);
  EXPECT_EQ(blocks[1]->layer, 7);
  EXPECT_EQ(blocks[1]->plan.offset, (std::vector<std::int32_t>{0, 2, 2, 3, 5, 5, 6}));
  EXPECT_EQ(blocks[1]->plan.expert, (std::vector<std::int32_t>{4, 1, 3, 4, 1, 3}));
  EXPECT_EQ(widest_row(blocks[1]->plan), 2);
}

}  // namespace
}  // namespace junto
