#include "analyze/device_step.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "analyze/test_traces.h"
#include "base/random.h"

namespace junto {
namespace {

TEST(DeviceStep, ALayerLastsAsLongAsItsSlowestDevice) {
  const std::vector<double> rows = {3, 1, 0, 0, 2, 6};
  const DeviceRows found = device_rows(rows, placement_in_stretches(6, 3));  // devices compute 4, 0 and 8
  EXPECT_EQ(found.slowest, 8.0);
  EXPECT_EQ(found.mean, 4.0);
  EXPECT_EQ(found.waiting(), 0.5);
  EXPECT_EQ(device_rows(rows, placement_in_stretches(6, 1)).waiting(), 0.0);
  EXPECT_EQ(device_rows(std::vector<double>(6), placement_in_stretches(6, 3)).waiting(), 0.0);
}

TEST(DeviceStep, ReplicasShareTheirExpertsRows) {
  Placement placement = placement_in_stretches(2, 2);
  placement.ranks_of_expert[0] = {0, 1};
  const DeviceRows found = device_rows(std::vector<double>{6, 1}, placement);
  EXPECT_EQ(found.slowest, 4.0);
  EXPECT_EQ(found.mean, 3.5);
}

TEST(DeviceStep, StretchesHoldEveryExpertOnceAndDifferByOneAtMost) {
  for (const auto& [experts, devices] : {std::pair{16, 8}, {7, 3}, {3, 8}, {1, 1}}) {
    const Placement placement = placement_in_stretches(experts, devices);
    check_placement(placement, experts);
    std::vector<int> held(static_cast<std::size_t>(devices));
    for (const auto& ranks : placement.ranks_of_expert) {
      ASSERT_EQ(ranks.size(), 1u);
      ++held[static_cast<std::size_t>(ranks[0])];
    }
    const auto [least, most] = std::minmax_element(held.begin(), held.end());
    EXPECT_LE(*most - *least, 1);
  }
}

TEST(DeviceStep, TracesAreCutIntoStepsAndMixersLeftOut) {
  std::vector<std::vector<std::vector<std::int32_t>>> ids(3, std::vector<std::vector<std::int32_t>>(50));
  Random random(3);
  for (auto& layer : ids) {
    for (auto& token : layer) {
      for (std::int32_t e = 0; e < 4; ++e) {
        if (random.uniform() < 0.4) token.push_back(e);
      }
    }
  }
  RouteTrace trace = trace_of_ids(4, ids);
  trace.layers[0].mixer = true;
  DeviceRows expected;
  for (const std::size_t layer : {1, 2}) {
    for (std::size_t first = 0; first < 50; first += 16) {
      double of_device[2] = {};
      for (std::size_t token = first; token < std::min<std::size_t>(50, first + 16); ++token) {
        for (const std::int32_t expert : ids[layer][token]) of_device[expert / 2] += 1.0;
      }
      expected += {std::max(of_device[0], of_device[1]), (of_device[0] + of_device[1]) / 2};
    }
  }
  const DeviceRows found = device_rows(trace, 2, 16);
  EXPECT_EQ(found.slowest, expected.slowest);
  EXPECT_EQ(found.mean, expected.mean);
  EXPECT_GT(found.waiting(), 0.0);
}

}  // namespace
}  // namespace junto
