#include "analyze/path_schedule.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "analyze/generate_trace.h"
#include "analyze/measure_schedule.h"
#include "base/error.h"
#include "base/random.h"

namespace junto {
namespace {

/// Tokens of two kinds that share no expert, in an order that mixes them.
TokenPaths two_kinds(std::int64_t tokens) {
  TokenPaths paths{8, {}};
  for (std::int64_t t = 0; t < tokens; ++t) {
    const bool second = t % 2 == 1;
    for (int c = 0; c < 8; ++c) paths.asked.push_back((c >= 4) == second && c % 4 <= 1 + (t / 2) % 2 ? 1 : 0);
  }
  return paths;
}

TEST(GroupByPath, TokensOfOneKindComeTogether) {
  const TokenPaths paths = two_kinds(12);
  const std::vector<int> in_order = {0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1};
  int best = 0;
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const std::vector<int> groups = group_by_path(paths, 2, seed);
    EXPECT_EQ(groups, group_by_path(paths, 2, seed));
    EXPECT_EQ(std::ranges::count(groups, 0), 6);
    EXPECT_LE(cells_of_groups(paths, groups, 2), cells_of_groups(paths, in_order, 2));
    best += cells_of_groups(paths, groups, 2) == 6 ? 1 : 0;
  }
  EXPECT_GE(best, 4);  // both medoids may begin in one kind, and stay there
}

TEST(GroupByPath, GroupsAreEqualWhateverTheTokensAsk) {
  Random random(5);
  for (const int groups : {1, 2, 3, 6}) {
    TokenPaths paths{10, std::vector<std::uint8_t>(12 * 10)};
    for (const bool alike : {true, false}) {
      for (std::uint8_t& cell : paths.asked) cell = alike ? 1 : static_cast<std::uint8_t>(random.next() % 2);
      const std::vector<int> found = group_by_path(paths, groups, 1);
      for (int g = 0; g < groups; ++g) EXPECT_EQ(std::ranges::count(found, g), 12 / groups);
    }
  }
  EXPECT_TRUE(group_by_path({4, {}}, 2, 0).empty());
}

TEST(MeasureSchedule, CountsTheExpertsOfBatches) {
  RouteTrace trace = generate_trace(make_trace_shape(3, 16, 1, 0), {}, 320, 2);
  trace.sequence_begin.clear();
  for (std::int64_t s = 0; s < 8; ++s) trace.sequence_begin.push_back(40 * s);
  const ScheduleQuality found = measure_schedule(trace, paths_of(trace), 4, 1);
  EXPECT_EQ(found.units, 40);
  EXPECT_GT(found.original, 1.0);
  EXPECT_LE(found.original, 4.0);
  EXPECT_NEAR(found.random, found.original, 0.3);  // routes are uniform
  EXPECT_LT(found.scheduled, found.original);
  EXPECT_THROW(measure_schedule(trace, paths_of(trace), 5, 1), Error);
  // Whom the scheduler is shown nothing of, it parts by chance.
  TokenPaths nothing = paths_of(trace);
  std::ranges::fill(nothing.asked, 0);
  EXPECT_GT(measure_schedule(trace, nothing, 4, 1).scheduled, found.scheduled);
}

}  // namespace
}  // namespace junto
