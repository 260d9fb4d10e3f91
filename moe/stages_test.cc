#include "moe/stages.h"

#include <gtest/gtest.h>

namespace junto {
namespace {

TEST(ExpertStages, LayersWithoutExpertsAreNoneAndRoundsAreEachTheirOwn) {
  const ExpertStages stages({4, 0, 8}, {1, 1, 3});
  EXPECT_EQ(stages.count(), 4);
  EXPECT_EQ(stages.index_of(0), 0);
  EXPECT_EQ(stages.index_of(1), -1);
  EXPECT_EQ(stages.index_of({2, 2}), 3);
  EXPECT_EQ(stages.stage(2), ExpertStage(2, 1));
  EXPECT_EQ(stages.experts(0), 4);
  EXPECT_EQ(stages.experts(3), 8);
  EXPECT_EQ(stages.after(0, 2), 2);
  EXPECT_EQ(stages.after(3, 2), 1);  // of the next token
}

TEST(ExpertStages, StepsToALayerCountToItsNextRound) {
  const ExpertStages stages({4, 0, 8}, {1, 1, 3});
  EXPECT_EQ(stages.steps_to_layer(0, 2), 1);
  EXPECT_EQ(stages.steps_to_layer(0, 0), 4);  // a token later
  EXPECT_EQ(stages.steps_to_layer(1, 2), 1);  // the next round
  EXPECT_EQ(stages.steps_to_layer(3, 2), 2);  // its rounds are over
  EXPECT_EQ(stages.steps_to_layer(2, 0), 2);
  EXPECT_EQ(ExpertStages({4}).steps_to_layer(0, 0), 1);
}

}  // namespace
}  // namespace junto
