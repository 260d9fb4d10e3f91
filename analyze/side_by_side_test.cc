#include "analyze/side_by_side.h"

#include <gtest/gtest.h>

#include "analyze/test_traces.h"
#include "base/error.h"

namespace junto {
namespace {

TEST(SideBySide, SequencesComputeTogetherAsLongAsTheShortest) {
  RouteTrace trace = trace_of_ids(4, {{{0}, {1}, {2}, {3}, {0}, {1}, {2}, {3}, {0}}});
  trace.sequence_begin = {0, 3, 5, 8};
  EXPECT_EQ(passes_of(trace, 2), (std::vector<TracedPass>{{0, 3}, {1, 4}, {5, 8}}));
  EXPECT_EQ(passes_of(trace, 3), (std::vector<TracedPass>{{0, 3, 5}, {1, 4, 6}}));  // the fourth is left over
  EXPECT_EQ(passes_of(trace, 1).size(), 9u);
  EXPECT_EQ(passes_of(trace, 1)[4], TracedPass{4});
  EXPECT_THROW(passes_of(trace, 5), Error);
  EXPECT_EQ(sequence_up_to(trace, 4).size(), 2u);
  EXPECT_EQ(sequence_up_to(trace, 0).size(), 1u);
  EXPECT_EQ(sequence_up_to(trace, 8).size(), 1u);
}

}  // namespace
}  // namespace junto
