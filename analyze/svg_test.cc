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
