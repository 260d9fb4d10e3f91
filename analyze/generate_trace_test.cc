#include "analyze/generate_trace.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "analyze/trace_stats.h"
#include "base/error.h"

namespace junto {
namespace {

TEST(GenerateTrace, ZipfGivesTheShareOfEachRank) {
  const RouteTrace trace = generate_trace(make_trace_shape(2, 10, 1, 100), {1.0, 0}, 20000, 1);
  for (const LayerStats& layer : measure_trace(trace, 0).layers) {
    std::vector<std::int64_t> uses = layer.uses;
    std::sort(uses.rbegin(), uses.rend());
    double sum = 0;
    for (int rank = 1; rank <= 10; ++rank) sum += 1.0 / rank;
    for (int rank = 1; rank <= 10; ++rank) {
      EXPECT_NEAR(static_cast<double>(uses[static_cast<std::size_t>(rank - 1)]) / 20000, 1 / (rank * sum), 0.012)
          << rank;
    }
  }
}

TEST(GenerateTrace, RepeatsAsOftenAsAsked) {
  // What is drawn anew is the last token's expert in 1 of 1000 cases.
  const RouteTrace trace = generate_trace(make_trace_shape(1, 1000, 1, 0), {0, 0.7}, 20000, 2);
  EXPECT_NEAR(measure_trace(trace, 0).layers[0].repeats, 0.7, 0.02);
}

TEST(GenerateTrace, LayersHaveRanksOfTheirOwn) {
  const TraceStats stats = measure_trace(generate_trace(make_trace_shape(2, 64, 1, 0), {1.5, 0}, 1000, 3), 0);
  EXPECT_NE(std::ranges::max_element(stats.layers[0].uses) - stats.layers[0].uses.begin(),
            std::ranges::max_element(stats.layers[1].uses) - stats.layers[1].uses.begin());
}

TEST(GenerateTrace, AUnitNeverNamesAnExpertTwice) {
  for (const double zipf : {0.0, 10.0}) {  // reading refuses such a unit
    const RouteTrace trace = generate_trace(make_trace_shape(1, 8, 8, 0), {zipf, 0.5}, 100, 4);
    EXPECT_EQ(parse_trace(serialize_trace(trace), "t").layers[0].plan.slots(), 800);
  }
}

TEST(GenerateTrace, TheSameSeedGivesTheSameTrace) {
  const TraceShape shape = make_trace_shape(2, 16, 4, 0);
  EXPECT_EQ(serialize_trace(generate_trace(shape, {1, 0.5}, 50, 5)),
            serialize_trace(generate_trace(shape, {1, 0.5}, 50, 5)));
  EXPECT_NE(serialize_trace(generate_trace(shape, {1, 0.5}, 50, 5)),
            serialize_trace(generate_trace(shape, {1, 0.5}, 50, 6)));
}

TEST(GenerateTrace, RecipesAreChecked) {
  EXPECT_EQ(parse_trace_recipe("repeat:0.5,zipf:1.25", "r").zipf, 1.25);
  EXPECT_EQ(parse_trace_recipe("uniform", "r").repeat, 0);
  const auto refusal = [](const char* text) -> std::string {
    try {
      parse_trace_recipe(text, "r");
      return "accepted";
    } catch (const Error& error) {
      return error.what();
    }
  };
  EXPECT_EQ(refusal("zipf"), "r: is zipf, expected uniform, zipf:S and repeat:P as in zipf:1.0,repeat:0.5");
  EXPECT_EQ(refusal("zipf:x"), "r: has x, expected a number from 0 to 10");
  EXPECT_EQ(refusal("repeat:1.5"), "r: has 1.5, expected a number from 0 to 1");
  EXPECT_EQ(refusal("repeat:nan"), "r: has nan, expected a number from 0 to 1");
  EXPECT_THROW(make_trace_shape(1, 4, 5, 0), Error);
  EXPECT_THROW(make_trace_shape(1 << 20, 65535, 5, 0), Error);
}

}  // namespace
}  // namespace junto
