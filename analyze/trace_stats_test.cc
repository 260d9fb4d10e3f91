#include "analyze/trace_stats.h"

#include <gtest/gtest.h>

#include <cmath>

#include "analyze/test_traces.h"

namespace junto {
namespace {

TEST(TraceStats, CountsUsesEntropyAndRepeats) {
  const TraceStats stats = measure_trace(trace_of_ids(4, {{{0, 1}, {0, 2}, {2, 0}, {1, 0}}}), 3);
  ASSERT_EQ(stats.layers.size(), 1u);
  const LayerStats& layer = stats.layers[0];
  EXPECT_EQ(stats.tokens, 4);
  EXPECT_EQ(layer.uses, (std::vector<std::int64_t>{4, 2, 2, 0}));
  EXPECT_DOUBLE_EQ(layer.per_token, 2);
  EXPECT_DOUBLE_EQ(layer.entropy_bits, 1.5);
  EXPECT_DOUBLE_EQ(layer.top_quarter, 0.5);
  EXPECT_DOUBLE_EQ(layer.repeats, 4.0 / 8);  // 0; 0 and 2; 0
}

TEST(TraceStats, ReuseCountsTheOthersInBetween) {
  // 0 1 2 0: two others since the last 0; then 0 again: none; then 1: 0 and 2 since.
  const LayerStats layer = measure_trace(trace_of_ids(4, {{{0}, {1}, {2}, {0}, {0}, {1}}}), 0).layers[0];
  EXPECT_EQ(layer.reuse, (std::vector<std::int64_t>{1, 0, 2, 0}));
  EXPECT_EQ(layer.reuse_quantile(0.3), 0);
  EXPECT_EQ(layer.reuse_quantile(0.5), 2);
  EXPECT_DOUBLE_EQ(layer.lru_hits(0), 0);
  EXPECT_DOUBLE_EQ(layer.lru_hits(1), 1.0 / 6);
  EXPECT_DOUBLE_EQ(layer.lru_hits(3), 3.0 / 6);
}

TEST(TraceStats, PairsAreThoseThatChanceDoesNotExplain) {
  // 0 and 3 only come together; 1 and 2 are with either.
  const LayerStats layer = measure_trace(trace_of_ids(4, {{{0, 3}, {1, 2}, {3, 0}, {2, 1}, {1}, {2}}}), 1).layers[0];
  ASSERT_EQ(layer.pairs.size(), 1u);
  EXPECT_EQ(layer.pairs[0].a, 0);
  EXPECT_EQ(layer.pairs[0].b, 3);
  EXPECT_EQ(layer.pairs[0].together, 2);
  EXPECT_DOUBLE_EQ(layer.pairs[0].lift, 2 / (2.0 * 2 / 6));
}

TEST(TraceStats, EmptyTracesAreLegal) {
  const RouteTrace trace = trace_of_ids(3, {{}});
  const TraceStats stats = measure_trace(trace, 3);
  EXPECT_EQ(stats.layers[0].reuse_quantile(0.5), -1);
  EXPECT_EQ(to_json(stats)["layers"][0]["uses"], Json({0, 0, 0}));
  EXPECT_NE(draw_trace(trace, stats).find("</svg>"), std::string::npos);
}

}  // namespace
}  // namespace junto
