#include "analyze/svg.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

namespace junto {
namespace {

TEST(Svg, TicksAreRoundAndReachTheTop) {
  EXPECT_EQ(ticks(10, 5), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  EXPECT_EQ(ticks(1, 5).size(), 6u);
  EXPECT_EQ(ticks(37, 5), (std::vector<double>{0, 10, 20, 30}));
  EXPECT_EQ(ticks(0, 5), (std::vector<double>{0}));
  EXPECT_EQ(ticks(std::numeric_limits<double>::infinity(), 5), (std::vector<double>{0}));
}

TEST(Svg, WordsCannotBecomeMarkup) {
  Svg svg(10, 10);
  svg.text(0, 0, "a<b>&\n");
  EXPECT_NE(svg.finish().find(">a&lt;b&gt;&amp; <"), std::string::npos) << svg.finish();
}

TEST(Svg, EverySeriesIsALineAndEveryMarkADot) {
  Svg svg(400, 300);
  svg.draw(
      LineChart{"title", "x", "y", {{"one", {{0, 0}, {2, 4}}, false, {{1, 2}}}, {"two", {{0, 1}, {2, 1}}, true}}, 0},
      {0, 0, 400, 300});
  const std::string text = svg.finish();
  EXPECT_NE(text.find("points=\"56.0,258.0 390.0,30.0\""), std::string::npos)
      << text;  // (2, 4) is the upper right corner
  EXPECT_NE(text.find("stroke-dasharray"), std::string::npos);
  EXPECT_NE(text.find("<circle cx=\"223.0\" cy=\"144.0\""), std::string::npos) << text;
  EXPECT_NE(text.find(">two</text>"), std::string::npos);
}

TEST(Svg, AnAxisMayBeginAboveZeroAndBandsStandBehindLines) {
  EXPECT_EQ(ticks(1.9, 4.4, 5), (std::vector<double>{2, 2.5, 3, 3.5, 4}));
  Svg svg(400, 300);
  LineChart chart{"", "x", "y", {{"one", {{0, 2}, {2, 4}}}}, 4};
  chart.y_low = 2;
  chart.series[0].band = {{0, 2, 3}, {2, 3, 9}};
  svg.draw(chart, {0, 0, 400, 300});
  const std::string text = svg.finish();
  EXPECT_NE(text.find("<polygon points=\"56.0,258.0 390.0,144.0 390.0,30.0 56.0,144.0\""), std::string::npos) << text;
  EXPECT_LT(text.find("<polygon"), text.find("points=\"56.0,258.0 390.0,30.0\"")) << text;
}

TEST(Svg, IntervalsWithoutAnEndAreDotsOnly) {
  const double endless = std::numeric_limits<double>::infinity();
  Svg svg(400, 200);
  svg.draw(IntervalChart{"", "", {{"a", 1, 0.5, 1.5}, {"b", 2, -endless, endless}}}, {0, 0, 400, 200});
  const std::string text = svg.finish();
  EXPECT_EQ(text.find("inf"), std::string::npos) << text;
  EXPECT_NE(text.find("stroke-width=\"3\""), std::string::npos);
  EXPECT_EQ(text.find("stroke-width=\"3\""), text.rfind("stroke-width=\"3\""));
}

TEST(Svg, HeatMapsClampAndTakeNaNForNothing) {
  Svg svg(100, 100);
  svg.draw(HeatMap{"", "", "", {{-1, 0, 1, 7, std::numeric_limits<double>::quiet_NaN()}}}, {0, 0, 100, 100});
  const std::string text = svg.finish();
  const auto count = [&](const std::string& word) {
    int n = 0;
    for (std::size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) ++n;
    return n;
  };
  EXPECT_EQ(count("fill=\"#f8f8f8\""), 3);
  EXPECT_EQ(count("fill=\"#10345c\""), 2);
}

}  // namespace
}  // namespace junto
